//! One policy at run time: the requests that it matches, their keys, and the limit of each caller.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderValue;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::adaptive::{AdaptiveRule, FULL_FRACTION, Health};
use super::config::{AdaptiveConfig, AppliesTo, Policy};
use super::headers::EffectiveLimit;
use super::request::{Request, Subject, hash_address, subject};
use bff_context::scope::Caller;
use bff_store::{Key, Namespace};

const SPACE: Namespace = Namespace {
    name: "limit",
    evictable: true,
};

/// One policy at run time.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) name: Arc<str>,
    /// Part of the Redis key: gateways that share a Redis count separately.
    gateway: HeaderValue,
    pub(super) policy: Policy,
    default: EffectiveLimit,
    plans: Vec<(Box<str>, EffectiveLimit)>,
    /// The rule and the state of an adaptive policy.
    adaptive: Option<(AdaptiveRule, Mutex<Health>)>,
}

/// A policy that matches a request, and the limit that applies to its caller now.
pub(super) type MatchedPolicy<'a> = (&'a Limit, Cow<'a, EffectiveLimit>);

impl Limit {
    /// Creates a policy from its configuration. The error is one line.
    pub(super) fn new(gateway: &HeaderValue, name: &str, policy: &Policy) -> Result<Self, String> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            return Err("the name must be 1 to 64 letters, digits, - or _".to_owned());
        }
        if policy.key_by.is_empty() {
            return Err("key_by must not be empty".to_owned());
        }
        let plans = policy.plans.iter();
        let effective = |limit| Ok::<_, String>(EffectiveLimit::new(name, policy.rule(limit)?));
        let plans = plans.map(|(plan, limit)| Ok((plan.as_str().into(), effective(*limit)?)));
        let adaptive = policy.adaptive.as_ref().map(AdaptiveConfig::rule);
        Ok(Self {
            name: name.into(),
            gateway: gateway.clone(),
            default: effective(policy.limit)?,
            plans: plans.collect::<Result<_, String>>()?,
            adaptive: (adaptive.transpose()?).map(|rule| (rule, Mutex::default())),
            policy: policy.clone(),
        })
    }

    /// Whether the policy counts this request.
    pub(super) fn matches(&self, request: &Request<'_>) -> bool {
        let Some(route) = request.route else {
            return false;
        };
        let applies = match self.policy.applies_to {
            AppliesTo::All => true,
            AppliesTo::Endpoints => !request.proxied,
            AppliesTo::Proxied => request.proxied,
        };
        let paths = &self.policy.paths;
        let matches_path = |prefix: &String| {
            let rest = request.path.strip_prefix(prefix.as_str());
            route == prefix
                || rest.is_some_and(|r| r.is_empty() || r.starts_with('/') || prefix.ends_with('/'))
        };
        applies && (paths.is_empty() || paths.iter().any(matches_path))
    }

    /// The limit that applies to this caller now.
    pub(super) fn effective(&self, caller: Option<&Caller>, now: u64) -> Cow<'_, EffectiveLimit> {
        let plan = caller.and_then(Caller::plan_name);
        let of_plan = plan.and_then(|plan| self.plans.iter().find(|(name, _)| **name == *plan));
        let effective = of_plan.map_or(&self.default, |(_, effective)| effective);
        match self.fraction(now) {
            FULL_FRACTION => Cow::Borrowed(effective),
            fraction => Cow::Owned(EffectiveLimit::new(
                &self.name,
                effective.rule.scaled(fraction),
            )),
        }
    }

    /// The fraction of the limit that applies now, in thousandths.
    fn fraction(&self, now: u64) -> u64 {
        let adaptive = self.adaptive.as_ref();
        adaptive.map_or(FULL_FRACTION, |(rule, health)| {
            rule.fraction(&mut health.lock(), now)
        })
    }

    /// Records the outcome of a counted request, if the policy is adaptive.
    pub(super) fn record_outcome(&self, now: u64, failed: bool) {
        if let Some((rule, health)) = &self.adaptive {
            rule.record_outcome(&mut health.lock(), now, failed);
        }
    }

    /// Whether the policy follows the outcome of its requests.
    pub(super) fn is_adaptive(&self) -> bool {
        self.adaptive.is_some()
    }

    /// The key in this process, without an allocation. Each process has its own seed, so that clients cannot provoke
    /// collisions with another caller's counter.
    pub(super) fn key(&self, seed: u64, request: &Request<'_>) -> u64 {
        let name = xxh3_64_with_seed(self.name.as_bytes(), seed);
        let parts = self.policy.key_by.iter();
        parts.fold(name, |hash, by| match subject(*by, request) {
            Subject::Text(kind, text) => {
                xxh3_64_with_seed(text.as_bytes(), hash.wrapping_add(u64::from(kind)))
            }
            Subject::Address(address) => hash_address(hash, address),
        })
    }

    /// The key in Redis.
    pub(super) fn redis_key(&self, request: &Request<'_>) -> Key {
        let parts = self
            .policy
            .key_by
            .iter()
            .map(|by| match subject(*by, request) {
                Subject::Text(kind, text) => [&[kind], text.as_bytes()].concat(),
                Subject::Address(Some(address)) => format!("a{address}").into_bytes(),
                Subject::Address(None) => b"a".to_vec(),
            });
        let parts: Vec<Vec<u8>> = parts.collect();
        let mut rest: Vec<&[u8]> = parts[1..].iter().map(Vec::as_slice).collect();
        rest.extend([self.gateway.as_bytes(), self.name.as_bytes()]);
        // Part of the key, so that a release that changes them starts with new counters.
        let [algorithm, _, period, ..] = self.default.rule.script_args().map(u64::to_le_bytes);
        rest.extend([&algorithm[..], &period[..]]);
        Key::of(SPACE, &parts[0], &rest)
    }
}
