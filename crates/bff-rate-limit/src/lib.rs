//! Rate limits: several policies can count one request, and the strictest one decides.
//!
//! [`algorithm`] and [`adaptive`] are pure. Counters live in this process or in Redis. In Redis, one script decides all
//! policies of a request in one round trip. If Redis is unavailable, each policy either counts in the replica or
//! rejects. The per-IP limit always counts in this process, so that a flood never reaches Redis.
//!
//! The crate knows no router and no authentication: [`Request`] holds all data that it needs. Read this file first,
//! then `limit.rs` and `algorithm.rs`.

use std::net::IpAddr;
use std::time::Duration;

use ::redis::Script;
use http::HeaderValue;

use bff_context::error::{Error, codes};
use bff_runtime::net::Env;
use bff_store::Store;
use bff_telemetry::Metrics;

pub use algorithm::{Algorithm, Decision, Rule};
pub use config::{AppliesTo, Config, KeyPart, OnStoreFailure, PerIp, Policy};
pub use headers::RateLimitState;
pub use request::Request;

use headers::{EffectiveLimit, PolicyResult};
use limit::{Limit, MatchedPolicy};
use request::hash_address;

pub mod adaptive;
pub mod algorithm;
mod config;
mod headers;
mod limit;
mod local;
mod redis;
mod request;
#[cfg(test)]
mod tests;

/// The name of the per-IP limit in response headers and in metrics.
const PER_IP: &str = "per_ip";

/// Extra cost of a rejected credential for its IP address. The request itself costs 1 more.
const FAILED_CREDENTIAL_COST: u64 = 9;

/// The largest number of policies: a `u64` has one bit for each.
const MAX_POLICIES: usize = 64;

/// All limits of a gateway.
#[derive(Debug)]
pub struct Limits {
    per_ip: Option<EffectiveLimit>,
    policies: Vec<Limit>,
    table: local::Table,
    seed: u64,
    store: Store,
    script: Script,
    metrics: Metrics,
}

impl Limits {
    /// Creates the limits of the gateway `client` from its configuration. The error names the key.
    pub fn open(
        config: &Config,
        store: Store,
        client: &HeaderValue,
        env: &Env,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let per_ip = config.per_ip.as_ref().map(PerIp::rule).transpose();
        let per_ip = per_ip.map_err(|e| format!("inbound.rate_limits.per_ip: {e}"))?;
        if config.policies.len() > MAX_POLICIES {
            return Err(format!(
                "inbound.rate_limits.policies: at most {MAX_POLICIES}"
            ));
        }
        let mut policies = Vec::new();
        for (name, policy) in &config.policies {
            let limit = Limit::new(client, name, policy);
            policies.push(limit.map_err(|e| format!("inbound.rate_limits.policies.{name}: {e}"))?);
        }
        Ok(Self {
            per_ip: per_ip.map(|rule| EffectiveLimit::new(PER_IP, rule)),
            policies,
            table: local::Table::new(),
            seed: env.random(),
            store,
            script: Script::new(include_str!("decide.lua")),
            metrics: metrics.clone(),
        })
    }

    /// Counts a request against the limit of its IP address. Returns the headers and the error if it is rejected.
    pub fn check_address(
        &self,
        address: Option<IpAddr>,
    ) -> Result<(), Box<(RateLimitState, Error)>> {
        let (Some(effective), Some(address)) = (&self.per_ip, address) else {
            return Ok(());
        };
        let key = self.address_key(address);
        let decision = self.table.decide(key, &effective.rule, 1);
        if decision.allowed {
            return Ok(());
        }
        self.metrics.rate_limit(PER_IP, "rejected");
        let result = PolicyResult {
            name: PER_IP,
            effective,
            decision,
        };
        let state = RateLimitState::from_results(&[result]);
        Err(Box::new((state, rejection(decision))))
    }

    /// Whether there is a limit for each IP address.
    pub fn has_per_ip(&self) -> bool {
        self.per_ip.is_some()
    }

    /// Whether there is any limit.
    pub fn is_configured(&self) -> bool {
        self.has_per_ip() || !self.policies.is_empty()
    }

    /// Whether a policy counts the requests of this route template.
    pub fn counts_route(&self, template: &str, proxied: bool) -> bool {
        let request = Request {
            address: None,
            caller: None,
            route: Some(template),
            proxied,
            path: template,
        };
        self.policies.iter().any(|limit| limit.matches(&request))
    }

    /// Charges the IP address for a rejected credential.
    pub fn charge_failed_credential(&self, address: Option<IpAddr>) {
        if let (Some(effective), Some(address)) = (&self.per_ip, address) {
            let key = self.address_key(address);
            (self.table).charge(key, &effective.rule, FAILED_CREDENTIAL_COST);
        }
    }

    /// Counts a request against every policy it matches. The state holds the headers of all of them.
    pub async fn check(&self, request: Request<'_>) -> (RateLimitState, Result<(), Error>) {
        let mut matching = self.policies.iter().filter(|l| l.matches(&request));
        let Some(first) = matching.next() else {
            return (RateLimitState::default(), Ok(()));
        };
        let now = self.table.now();
        let second = matching.next();
        // The common case: one policy, counted in this process.
        if second.is_none() && !self.store.is_redis() {
            let effective = first.effective(request.caller, now);
            let key = first.key(self.seed, &request);
            let decision = self.table.decide(key, &effective.rule, 1);
            return self.combine(&[(first, effective)], &[decision]);
        }
        let matched = [first].into_iter().chain(second).chain(matching);
        let matched: Vec<MatchedPolicy<'_>> = matched
            .map(|limit| (limit, limit.effective(request.caller, now)))
            .collect();
        match self.decide(&matched, &request).await {
            Ok(decisions) => self.combine(&matched, &decisions),
            Err(error) => (RateLimitState::default(), Err(error)),
        }
    }

    /// Records the outcome of a counted request for its adaptive policies. Calls `failed` only if there are any.
    pub fn record_outcome(&self, state: &RateLimitState, failed: impl FnOnce() -> bool) {
        let mut adaptive = state.adaptive;
        let failed = adaptive != 0 && failed();
        while adaptive != 0 {
            let at = adaptive.trailing_zeros();
            adaptive &= adaptive - 1;
            if let Some(limit) = self.policies.get(at as usize) {
                limit.record_outcome(self.table.now(), failed);
            }
        }
    }

    /// Merges the decisions of all matched policies: rejected if one rejects, with the longest `Retry-After`.
    fn combine(
        &self,
        matched: &[MatchedPolicy<'_>],
        decisions: &[Decision],
    ) -> (RateLimitState, Result<(), Error>) {
        let mut worst: Option<Decision> = None;
        for ((limit, _), decision) in matched.iter().zip(decisions) {
            let outcome = if decision.allowed {
                "allowed"
            } else {
                "rejected"
            };
            self.metrics.rate_limit(limit.name.clone(), outcome);
            if !decision.allowed && worst.is_none_or(|w| w.retry_after < decision.retry_after) {
                worst = Some(*decision);
            }
        }
        let mut state = if let ([one], [decision]) = (matched, decisions) {
            RateLimitState::from_results(&[policy_result(one, decision)])
        } else {
            let results = matched.iter().zip(decisions);
            let results = results.map(|(one, decision)| policy_result(one, decision));
            RateLimitState::from_results(&results.collect::<Vec<_>>())
        };
        // A rejected request never calls a backend, so adaptive policies do not record it.
        if let Some(decision) = worst {
            return (state, Err(rejection(decision)));
        }
        state.adaptive = self.adaptive_bits(matched);
        (state, Ok(()))
    }

    /// One bit for each matched policy that is adaptive.
    fn adaptive_bits(&self, matched: &[MatchedPolicy<'_>]) -> u64 {
        let mut bits = 0;
        for (limit, _) in matched.iter().filter(|(limit, _)| limit.is_adaptive()) {
            let at = self.policies.iter().position(|l| std::ptr::eq(l, *limit));
            bits |= at.map_or(0, |at| 1 << at);
        }
        bits
    }

    async fn decide(
        &self,
        matched: &[MatchedPolicy<'_>],
        request: &Request<'_>,
    ) -> Result<Vec<Decision>, Error> {
        if let Store::Redis(redis) = &self.store {
            if let Ok(decisions) = redis::decide(redis, &self.script, matched, request).await {
                return Ok(decisions);
            }
            let fails_closed = |(limit, _): &&MatchedPolicy<'_>| {
                limit.policy.on_store_failure == OnStoreFailure::FailClosed
            };
            if let Some((limit, _)) = matched.iter().find(fails_closed) {
                (self.metrics).rate_limit(limit.name.clone(), "fail_closed");
                let detail = "Requests cannot be counted at the moment.";
                return Err(Error::new(codes::UNAVAILABLE, detail)
                    .with_cause("redis is unavailable and the policy fails closed")
                    .with_retry_after(Some(Duration::from_secs(1))));
            }
        }
        Ok(self.decide_locally(matched, request))
    }

    /// Decides in this process. Takes nothing unless all policies allow the request.
    fn decide_locally(
        &self,
        matched: &[MatchedPolicy<'_>],
        request: &Request<'_>,
    ) -> Vec<Decision> {
        let key = |limit: &Limit| limit.key(self.seed, request);
        if let [(limit, effective)] = matched {
            return vec![self.table.decide(key(limit), &effective.rule, 1)];
        }
        let peek = |(limit, effective): &MatchedPolicy<'_>, cost| {
            self.table.peek(key(limit), &effective.rule, cost)
        };
        let peeked: Vec<Decision> = matched.iter().map(|one| peek(one, 1)).collect();
        if peeked.iter().any(|decision| !decision.allowed) {
            // The policies that allow the request report their state without it.
            let decisions = matched.iter().zip(peeked);
            let report = decisions.map(|(one, d)| if d.allowed { peek(one, 0) } else { d });
            return report.collect();
        }
        // Decides again under each lock: other requests may have been counted since the peek.
        let decide = |(limit, effective): &MatchedPolicy<'_>| {
            self.table.decide(key(limit), &effective.rule, 1)
        };
        matched.iter().map(decide).collect()
    }

    fn address_key(&self, address: IpAddr) -> u64 {
        hash_address(self.seed, Some(address))
    }
}

fn policy_result<'a>(
    (limit, effective): &'a MatchedPolicy<'_>,
    decision: &Decision,
) -> PolicyResult<'a> {
    PolicyResult {
        name: &limit.name,
        effective,
        decision: *decision,
    }
}

fn rejection(decision: Decision) -> Error {
    let after = Duration::from_micros(decision.retry_after);
    Error::new(codes::RATE_LIMITED, codes::RATE_LIMITED.meaning()).with_retry_after(Some(after))
}
