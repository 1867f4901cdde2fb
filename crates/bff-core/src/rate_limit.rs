//! How much one client may ask for: several limits at once, of which the strictest answers.
//!
//! [`algorithm`] is pure. Counters live in this process, or in Redis, where one script decides on all limits of a
//! request in one round trip; while Redis is away each policy says whether its replica counts for itself or closes.
//! The address's own limit never leaves the process: a flood is not passed on to Redis.

use std::net::IpAddr;
use std::time::Duration;

use ::redis::Script;
use futures_util::future::join_all;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::context::Shared;
use crate::error::{Error, codes};
use crate::scope::Caller;
use crate::store::{Away, Key, Space, Store};
use crate::telemetry::Metrics;

pub use algorithm::{Algorithm, Decision, Rule};
pub use config::{Address, By, Config, Of, Policy, WhenAway};
pub use standing::Standing;

pub mod algorithm;
mod config;
mod standing;
mod table;
#[cfg(test)]
mod tests;

/// What a credential that is refused costs its address beyond the request itself.
const FAILED_CREDENTIAL: u64 = 9;

const SPACE: Space = Space {
    name: "limit",
    forgettable: true,
};

/// All limits of a gateway.
#[derive(Debug)]
pub struct Limits {
    address: Option<Rule>,
    policies: Vec<Limit>,
    table: table::Table,
    seed: u64,
    store: Store,
    script: Script,
    metrics: Metrics,
}

/// One policy, read.
#[derive(Debug)]
struct Limit {
    name: Box<str>,
    policy: Policy,
    rule: Rule,
    plans: Vec<(Box<str>, Rule)>,
}

/// What is known of a request that counts.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where it came from; none on a pipe.
    pub address: Option<IpAddr>,
    /// Who asks.
    pub caller: Option<&'a Caller>,
    /// The route's template; none where the gateway has no route.
    pub route: Option<&'a str>,
    /// Whether the route passes it on.
    pub passed: bool,
    /// The path.
    pub path: &'a str,
}

impl Limits {
    /// Reads the limits. The error names its key.
    pub fn open(config: &Config, store: Store, shared: &Shared) -> Result<Self, String> {
        let address = config.address.as_ref().map(Address::rule).transpose();
        let mut policies = Vec::new();
        for (name, policy) in &config.policies {
            let read = Limit::read(name, policy);
            policies.push(read.map_err(|e| format!("inbound.limits.policies.{name}: {e}"))?);
        }
        Ok(Self {
            address: address.map_err(|e| format!("inbound.limits.address: {e}"))?,
            policies,
            table: table::Table::new(),
            seed: shared.world.random(),
            store,
            script: Script::new(include_str!("rate_limit/decide.lua")),
            metrics: shared.metrics.clone(),
        })
    }

    /// Counts a request against its address's own limit.
    pub fn arrive(&self, address: Option<IpAddr>) -> Result<(), (Standing, Error)> {
        let (Some(rule), Some(address)) = (&self.address, address) else {
            return Ok(());
        };
        let decision = self.table.decide(self.address_key(address), rule, 1);
        if decision.allowed {
            return Ok(());
        }
        self.metrics.rate_limited("address", "refused");
        let mut standing = Standing::default();
        standing.add("address", rule, decision);
        Err((standing, refusal(decision)))
    }

    /// A credential from this address was refused.
    pub fn failed_credential(&self, address: Option<IpAddr>) {
        if let (Some(rule), Some(address)) = (&self.address, address) {
            let key = self.address_key(address);
            self.table.charge(key, rule, FAILED_CREDENTIAL);
        }
    }

    /// Counts a request against every policy it matches, and says how its caller stands with each.
    pub async fn count(&self, request: Request<'_>) -> (Standing, Result<(), Error>) {
        let matching = || self.policies.iter().filter(|l| l.matches(&request));
        let mut standing = Standing::default();
        if matching().next().is_none() {
            return (standing, Ok(()));
        }
        let counted: Vec<(&Limit, Rule)> = matching()
            .map(|limit| (limit, limit.rule_for(request.caller)))
            .collect();
        let decisions = match self.decide(&counted, &request).await {
            Ok(decisions) => decisions,
            Err(error) => return (standing, Err(error)),
        };
        let mut worst: Option<Decision> = None;
        for ((limit, rule), decision) in counted.iter().zip(decisions) {
            let outcome = if decision.allowed {
                "passed"
            } else {
                "refused"
            };
            self.metrics.rate_limited(&limit.name, outcome);
            standing.add(&limit.name, rule, decision);
            if !decision.allowed && worst.is_none_or(|w| w.retry_after < decision.retry_after) {
                worst = Some(decision);
            }
        }
        (
            standing,
            worst.map_or(Ok(()), |decision| Err(refusal(decision))),
        )
    }

    async fn decide(
        &self,
        counted: &[(&Limit, Rule)],
        request: &Request<'_>,
    ) -> Result<Vec<Decision>, Error> {
        if self.store.is_redis() {
            if let Ok(decisions) = self.shared(counted, request).await {
                return Ok(decisions);
            }
            let closed = counted
                .iter()
                .find(|(l, _)| l.policy.away == WhenAway::Closed);
            if let Some((limit, _)) = closed {
                self.metrics.rate_limited(&limit.name, "closed");
                let detail = "Requests cannot be counted at the moment.";
                return Err(Error::new(codes::UNAVAILABLE, detail)
                    .because("the store is away, and the policy closes then")
                    .retry_after(Some(Duration::from_secs(1))));
            }
        }
        Ok(self.local(counted, request))
    }

    /// In this process. Nothing is taken unless all let it pass.
    fn local(&self, counted: &[(&Limit, Rule)], request: &Request<'_>) -> Vec<Decision> {
        let key = |limit: &Limit| limit.key(self.seed, request);
        if let [(limit, rule)] = counted {
            return vec![self.table.decide(key(limit), rule, 1)];
        }
        let peeked = counted
            .iter()
            .map(|(limit, rule)| self.table.peek(key(limit), rule, 1));
        let peeked: Vec<Decision> = peeked.collect();
        if peeked.iter().any(|decision| !decision.allowed) {
            // The others say how they stand without this request.
            let stands = |(at, (limit, rule)): (usize, &(&Limit, Rule))| {
                if peeked[at].allowed {
                    self.table.peek(key(limit), rule, 0)
                } else {
                    peeked[at]
                }
            };
            return counted.iter().enumerate().map(stands).collect();
        }
        // Decided again under each lock: what came in between counts.
        let decide = |(limit, rule): &(&Limit, Rule)| self.table.decide(key(limit), rule, 1);
        counted.iter().map(decide).collect()
    }

    /// In Redis: one script for all keys that lie in one slot, and all scripts side by side on one connection.
    async fn shared(
        &self,
        counted: &[(&Limit, Rule)],
        request: &Request<'_>,
    ) -> Result<Vec<Decision>, Away> {
        let Store::Redis(redis) = &self.store else {
            return Err(Away);
        };
        let keys: Vec<Key> = counted.iter().map(|(l, _)| l.shared_key(request)).collect();
        // In the order of the policies, which those of one group keep.
        let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            match groups.iter_mut().find(|(tag, _)| *tag == key.tag()) {
                Some((_, group)) => group.push(at),
                None => groups.push((key.tag(), vec![at])),
            }
        }
        let asked = groups.iter().map(|(_, group)| {
            let names: Vec<&str> = group.iter().map(|&at| keys[at].as_str()).collect();
            let args: Vec<u64> = group
                .iter()
                .flat_map(|&at| numbers(&counted[at].1))
                .collect();
            async move { redis.run::<Vec<u64>>(&self.script, &names, &args).await }
        });
        let answers = join_all(asked).await;
        let mut decisions = vec![Decision::default(); counted.len()];
        for ((_, group), answer) in groups.iter().zip(answers) {
            let answer = answer?;
            for (&at, told) in group.iter().zip(answer.chunks_exact(5)) {
                decisions[at] = Decision {
                    allowed: told[0] == 1,
                    remaining: told[1],
                    reset: told[2],
                    retry_after: told[3],
                    wait: told[4],
                };
            }
        }
        Ok(decisions)
    }

    fn address_key(&self, address: IpAddr) -> u64 {
        hash_address(self.seed, Some(address))
    }
}

impl Limit {
    fn read(name: &str, policy: &Policy) -> Result<Self, String> {
        let visible = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(visible) {
            return Err("its name is letters, digits, - and _".to_owned());
        }
        if policy.by.is_empty() {
            return Err("by is not empty".to_owned());
        }
        let plans = policy.plans.iter();
        let plans = plans.map(|(plan, limit)| Ok((plan.as_str().into(), policy.rule(*limit)?)));
        Ok(Self {
            name: name.into(),
            rule: policy.rule(policy.limit)?,
            plans: plans.collect::<Result<_, String>>()?,
            policy: policy.clone(),
        })
    }

    fn matches(&self, request: &Request<'_>) -> bool {
        let Some(route) = request.route else {
            return false;
        };
        let of = match self.policy.of {
            Of::All => true,
            Of::Doors => !request.passed,
            Of::Passed => request.passed,
        };
        let paths = &self.policy.paths;
        let below = |prefix: &String| {
            let rest = request.path.strip_prefix(prefix.as_str());
            route == prefix
                || rest.is_some_and(|r| r.is_empty() || r.starts_with('/') || prefix.ends_with('/'))
        };
        of && (paths.is_empty() || paths.iter().any(below))
    }

    fn rule_for(&self, caller: Option<&Caller>) -> Rule {
        let plan = caller.and_then(Caller::plan_name);
        let own = plan.and_then(|plan| self.plans.iter().find(|(name, _)| **name == *plan));
        own.map_or(self.rule, |(_, rule)| *rule)
    }

    /// Without an allocation; the seed is this process's own, so that nobody can aim at another's counter.
    fn key(&self, seed: u64, request: &Request<'_>) -> u64 {
        let name = xxh3_64_with_seed(self.name.as_bytes(), seed);
        let parts = self.policy.by.iter();
        parts.fold(name, |hash, by| match subject(*by, request) {
            Subject::Text(kind, text) => {
                xxh3_64_with_seed(text.as_bytes(), hash.wrapping_add(u64::from(kind)))
            }
            Subject::Address(address) => hash_address(hash, address),
        })
    }

    fn shared_key(&self, request: &Request<'_>) -> Key {
        let parts = self.policy.by.iter().map(|by| match subject(*by, request) {
            Subject::Text(kind, text) => [&[kind], text.as_bytes()].concat(),
            Subject::Address(Some(address)) => format!("a{address}").into_bytes(),
            Subject::Address(None) => b"a".to_vec(),
        });
        let parts: Vec<Vec<u8>> = parts.collect();
        let mut rest: Vec<&[u8]> = parts[1..].iter().map(Vec::as_slice).collect();
        rest.push(self.name.as_bytes());
        // A policy that counts otherwise than the release before it counts anew.
        let [algorithm, _, period, ..] = numbers(&self.rule).map(u64::to_le_bytes);
        rest.extend([&algorithm[..], &period[..]]);
        Key::of(SPACE, &parts[0], &rest)
    }
}

/// One of the things that requests have in common; the letter keeps an account apart from an API key of its name.
enum Subject<'a> {
    Text(u8, &'a str),
    Address(Option<IpAddr>),
}

fn subject<'a>(by: By, request: &Request<'a>) -> Subject<'a> {
    let account = request.caller.map(Caller::account);
    let caller = account.map_or(Subject::Address(request.address), |a| {
        Subject::Text(b'c', a)
    });
    match by {
        By::Address => Subject::Address(request.address),
        By::Caller => caller,
        By::ApiKey => match request.caller.and_then(Caller::key_id) {
            Some(key) => Subject::Text(b'k', key),
            None => caller,
        },
        By::Plan => Subject::Text(
            b'p',
            request
                .caller
                .and_then(Caller::plan_name)
                .unwrap_or_default(),
        ),
        By::Route => Subject::Text(b'r', request.route.unwrap_or_default()),
    }
}

fn hash_address(seed: u64, address: Option<IpAddr>) -> u64 {
    match address {
        None => seed,
        Some(IpAddr::V4(v4)) => xxh3_64_with_seed(&v4.octets(), seed),
        Some(IpAddr::V6(v6)) => xxh3_64_with_seed(&v6.octets(), seed),
    }
}

/// A rule as `decide.lua` reads it, and the cost.
fn numbers(rule: &Rule) -> [u64; 5] {
    let algorithm = match rule.algorithm {
        Algorithm::FixedWindow => 0,
        Algorithm::SlidingWindow => 1,
        Algorithm::TokenBucket => 2,
        Algorithm::LeakyMeter => 3,
        Algorithm::LeakyQueue => 4,
    };
    [algorithm, rule.limit, rule.period, rule.burst, 1]
}

fn refusal(decision: Decision) -> Error {
    let after = Duration::from_micros(decision.retry_after);
    Error::new(codes::RATE_LIMITED, codes::RATE_LIMITED.meaning()).retry_after(Some(after))
}
