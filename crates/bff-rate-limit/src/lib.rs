//! Rate limits: several policies at once, of which the strictest answers.
//!
//! It knows no HTTP route, only the words that a policy counts by. Read `algorithm.rs` first: the algorithms and
//! `adaptive.rs` are pure. Counters live in this process (`local.rs`) or in Redis (`redis.rs`), where one script decides
//! on all policies of a request in one round trip. While Redis is unavailable, each policy either counts per replica or
//! rejects. The limit of an address never leaves the process, so that a flood does not reach Redis.

use std::net::IpAddr;
use std::time::Duration;

use ::redis::Script;
use http::HeaderValue;

use bff_context::error::{Error, codes};
use bff_runtime::net::Env;
use bff_store::Store;
use bff_telemetry::Metrics;

pub use algorithm::{Algorithm, Decision, Rule};
pub use config::{Address, AppliesTo, Config, KeyPart, OnStoreFailure, Policy};
pub use headers::RateLimitState;
pub use request::Request;

use headers::{EffectiveLimit, PolicyResult};
use limit::{Counted, Limit};
use metrics::Decisions;
use request::hash_address;

pub mod adaptive;
pub mod algorithm;
mod config;
mod headers;
mod limit;
mod local;
mod metrics;
mod redis;
mod request;
#[cfg(test)]
mod tests;

/// What a credential that is refused costs its address beyond the request itself.
const FAILED_CREDENTIAL: u64 = 9;

/// How many policies there may be, so that one number says which of them counted a request.
const MOST_POLICIES: usize = 64;

/// All limits of a gateway.
#[derive(Debug)]
pub struct Limits {
    address: Option<(EffectiveLimit, Decisions)>,
    policies: Vec<Limit>,
    table: local::Table,
    seed: u64,
    store: Store,
    script: Script,
}

impl Limits {
    /// Reads the limits of the gateway `client`. The error names its key.
    pub fn open(
        config: &Config,
        store: Store,
        client: &HeaderValue,
        env: &Env,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let counter = || metrics.rate_limits();
        let address = config.per_ip.as_ref().map(Address::rule).transpose();
        let address = address.map_err(|e| format!("inbound.rate_limits.per_ip: {e}"))?;
        let address = address.map(|rule| {
            let decisions = Decisions::new(counter(), "address");
            (EffectiveLimit::new("address", rule), decisions)
        });
        if config.policies.len() > MOST_POLICIES {
            return Err(format!(
                "inbound.rate_limits.policies: at most {MOST_POLICIES}"
            ));
        }
        let mut policies = Vec::new();
        for (name, policy) in &config.policies {
            let read = Limit::read(client, name, policy, counter());
            policies.push(read.map_err(|e| format!("inbound.rate_limits.policies.{name}: {e}"))?);
        }
        Ok(Self {
            address,
            policies,
            table: local::Table::new(),
            seed: env.random(),
            store,
            script: Script::new(include_str!("decide.lua")),
        })
    }

    /// Counts a request against its address's own limit.
    pub fn check_address(
        &self,
        address: Option<IpAddr>,
    ) -> Result<(), Box<(RateLimitState, Error)>> {
        let (Some((term, decisions)), Some(address)) = (&self.address, address) else {
            return Ok(());
        };
        let decision = self.table.decide(self.address_key(address), &term.rule, 1);
        if decision.allowed {
            return Ok(());
        }
        decisions.count(false);
        let told = PolicyResult {
            name: "address",
            term,
            decision,
        };
        Err(Box::new((RateLimitState::of(&[told]), refusal(decision))))
    }

    /// Whether any address may ask only so much.
    pub fn count_addresses(&self) -> bool {
        self.address.is_some()
    }

    /// Whether there is any limit.
    pub fn any(&self) -> bool {
        self.count_addresses() || !self.policies.is_empty()
    }

    /// Whether a policy counts the requests of this template, answered here or passed on.
    pub fn count_route(&self, template: &str, passed: bool) -> bool {
        let request = Request {
            address: None,
            caller: None,
            route: Some(template),
            passed,
            path: template,
        };
        self.policies.iter().any(|limit| limit.matches(&request))
    }

    /// A credential from this address was refused.
    pub fn failed_credential(&self, address: Option<IpAddr>) {
        if let (Some((term, _)), Some(address)) = (&self.address, address) {
            let key = self.address_key(address);
            self.table.charge(key, &term.rule, FAILED_CREDENTIAL);
        }
    }

    /// Counts a request against every policy it matches, and says how its caller stands with each.
    pub async fn check(&self, request: Request<'_>) -> (RateLimitState, Result<(), Error>) {
        let mut matching = self.policies.iter().filter(|l| l.matches(&request));
        let Some(first) = matching.next() else {
            return (RateLimitState::default(), Ok(()));
        };
        let now = self.table.now();
        let second = matching.next();
        // Most requests: one policy, counted here.
        if second.is_none() && !self.store.is_redis() {
            let term = first.term(request.caller, now);
            let key = first.key(self.seed, &request);
            let decision = self.table.decide(key, &term.rule, 1);
            return self.tell(&[(first, term)], &[decision]);
        }
        let counted = [first].into_iter().chain(second).chain(matching);
        let counted: Vec<Counted<'_>> = counted
            .map(|limit| (limit, limit.term(request.caller, now)))
            .collect();
        match self.decide(&counted, &request).await {
            Ok(decisions) => self.tell(&counted, &decisions),
            Err(error) => (RateLimitState::default(), Err(error)),
        }
    }

    /// How a request that counted was answered, for the limits that follow it; most do not, and nobody looks then.
    pub fn record_outcome(&self, standing: &RateLimitState, failed: impl FnOnce() -> bool) {
        let mut followed = standing.followed;
        let failed = followed != 0 && failed();
        while followed != 0 {
            let at = followed.trailing_zeros();
            followed &= followed - 1;
            if let Some(limit) = self.policies.get(at as usize) {
                limit.answered(self.table.now(), failed);
            }
        }
    }

    fn tell(
        &self,
        counted: &[Counted<'_>],
        decisions: &[Decision],
    ) -> (RateLimitState, Result<(), Error>) {
        let mut worst: Option<Decision> = None;
        for ((limit, _), decision) in counted.iter().zip(decisions) {
            limit.decisions.count(decision.allowed);
            if !decision.allowed && worst.is_none_or(|w| w.retry_after < decision.retry_after) {
                worst = Some(*decision);
            }
        }
        let mut standing = if let ([one], [decision]) = (counted, decisions) {
            RateLimitState::of(&[told(one, decision)])
        } else {
            let all = counted.iter().zip(decisions);
            let all: Vec<PolicyResult<'_>> =
                all.map(|(one, decision)| told(one, decision)).collect();
            RateLimitState::of(&all)
        };
        // Whoever is refused asks nothing of anybody.
        if let Some(decision) = worst {
            return (standing, Err(refusal(decision)));
        }
        standing.followed = self.followed(counted);
        (standing, Ok(()))
    }

    /// Which of the limits that counted want to know how the request is answered.
    fn followed(&self, counted: &[Counted<'_>]) -> u64 {
        let mut followed = 0;
        for (limit, _) in counted.iter().filter(|(limit, _)| limit.is_adaptive()) {
            let at = self.policies.iter().position(|l| std::ptr::eq(l, *limit));
            followed |= at.map_or(0, |at| 1 << at);
        }
        followed
    }

    async fn decide(
        &self,
        counted: &[Counted<'_>],
        request: &Request<'_>,
    ) -> Result<Vec<Decision>, Error> {
        if let Store::Redis(redis) = &self.store {
            if let Ok(decisions) = redis::decide(redis, &self.script, counted, request).await {
                return Ok(decisions);
            }
            let closed = |(limit, _): &&Counted<'_>| {
                limit.policy.on_store_failure == OnStoreFailure::FailClosed
            };
            if let Some((limit, _)) = counted.iter().find(closed) {
                limit.decisions.closed();
                let detail = "Requests cannot be counted at the moment.";
                return Err(Error::new(codes::UNAVAILABLE, detail)
                    .with_cause("the store is away, and the policy closes then")
                    .with_retry_after(Some(Duration::from_secs(1))));
            }
        }
        Ok(self.local(counted, request))
    }

    /// In this process. Nothing is taken unless all let it pass.
    fn local(&self, counted: &[Counted<'_>], request: &Request<'_>) -> Vec<Decision> {
        let key = |limit: &Limit| limit.key(self.seed, request);
        if let [(limit, term)] = counted {
            return vec![self.table.decide(key(limit), &term.rule, 1)];
        }
        let peek =
            |(limit, term): &Counted<'_>, cost| self.table.peek(key(limit), &term.rule, cost);
        let peeked: Vec<Decision> = counted.iter().map(|one| peek(one, 1)).collect();
        if peeked.iter().any(|decision| !decision.allowed) {
            // The others say how they stand without this request.
            let stands = |(one, decision): (&Counted<'_>, Decision)| {
                if decision.allowed {
                    peek(one, 0)
                } else {
                    decision
                }
            };
            return counted.iter().zip(peeked).map(stands).collect();
        }
        // Decided again under each lock: what came in between counts.
        let decide = |(limit, term): &Counted<'_>| self.table.decide(key(limit), &term.rule, 1);
        counted.iter().map(decide).collect()
    }

    fn address_key(&self, address: IpAddr) -> u64 {
        hash_address(self.seed, Some(address))
    }
}

fn told<'a>((limit, term): &'a Counted<'_>, decision: &Decision) -> PolicyResult<'a> {
    PolicyResult {
        name: &limit.name,
        term,
        decision: *decision,
    }
}

fn refusal(decision: Decision) -> Error {
    let after = Duration::from_micros(decision.retry_after);
    Error::new(codes::RATE_LIMITED, codes::RATE_LIMITED.meaning()).with_retry_after(Some(after))
}
