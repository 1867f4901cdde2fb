//! One policy, read: which requests it is about, whose they count as, and what holds for whom.

use std::borrow::Cow;

use http::HeaderValue;
use opentelemetry::metrics::Counter;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::adaptive::{Adaptive, Health, WHOLE};
use super::config::{self, AppliesTo, Policy};
use super::headers::EffectiveLimit;
use super::metrics::Decisions;
use super::request::{Request, Subject, hash_address, subject};
use bff_context::scope::Caller;
use bff_store::{Key, Namespace};

const SPACE: Namespace = Namespace {
    name: "limit",
    evictable: true,
};

/// One policy, read.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) name: Box<str>,
    /// Whose it is: in a store that several gateways share each counts for itself.
    gateway: HeaderValue,
    pub(super) policy: Policy,
    pub(super) decisions: Decisions,
    term: EffectiveLimit,
    plans: Vec<(Box<str>, EffectiveLimit)>,
    /// The health it follows, where it does.
    follows: Option<(Adaptive, Mutex<Health>)>,
}

/// A policy that counts a request, and the limit that applies to its caller.
pub(super) type Counted<'a> = (&'a Limit, Cow<'a, EffectiveLimit>);

impl Limit {
    /// Reads a policy of `gateway`.
    pub(super) fn read(
        gateway: &HeaderValue,
        name: &str,
        policy: &Policy,
        counter: Counter<u64>,
    ) -> Result<Self, String> {
        let visible = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(visible) {
            return Err("its name is letters, digits, - and _".to_owned());
        }
        if policy.key_by.is_empty() {
            return Err("by is not empty".to_owned());
        }
        let plans = policy.plans.iter();
        let term = |limit| Ok::<_, String>(EffectiveLimit::new(name, policy.rule(limit)?));
        let plans = plans.map(|(plan, limit)| Ok((plan.as_str().into(), term(*limit)?)));
        let adaptive = policy.adaptive.as_ref().map(config::Adaptive::read);
        Ok(Self {
            name: name.into(),
            gateway: gateway.clone(),
            term: term(policy.limit)?,
            plans: plans.collect::<Result<_, String>>()?,
            follows: (adaptive.transpose()?).map(|adaptive| (adaptive, Mutex::default())),
            decisions: Decisions::new(counter, name),
            policy: policy.clone(),
        })
    }

    /// Whether a request counts against it.
    pub(super) fn matches(&self, request: &Request<'_>) -> bool {
        let Some(route) = request.route else {
            return false;
        };
        let of = match self.policy.applies_to {
            AppliesTo::All => true,
            AppliesTo::Endpoints => !request.passed,
            AppliesTo::Proxied => request.passed,
        };
        let paths = &self.policy.paths;
        let below = |prefix: &String| {
            let rest = request.path.strip_prefix(prefix.as_str());
            route == prefix
                || rest.is_some_and(|r| r.is_empty() || r.starts_with('/') || prefix.ends_with('/'))
        };
        of && (paths.is_empty() || paths.iter().any(below))
    }

    /// What holds for this caller now.
    pub(super) fn term(&self, caller: Option<&Caller>, now: u64) -> Cow<'_, EffectiveLimit> {
        let plan = caller.and_then(Caller::plan_name);
        let own = plan.and_then(|plan| self.plans.iter().find(|(name, _)| **name == *plan));
        let term = own.map_or(&self.term, |(_, term)| term);
        match self.share(now) {
            WHOLE => Cow::Borrowed(term),
            share => Cow::Owned(EffectiveLimit::new(&self.name, term.rule.at(share))),
        }
    }

    /// How much of the limit holds now.
    fn share(&self, now: u64) -> u64 {
        let follows = self.follows.as_ref();
        follows.map_or(WHOLE, |(adaptive, health)| {
            adaptive.share(&mut health.lock(), now)
        })
    }

    /// A request that counted was answered, by a failure or not.
    pub(super) fn answered(&self, now: u64, failed: bool) {
        if let Some((adaptive, health)) = &self.follows {
            adaptive.answered(&mut health.lock(), now, failed);
        }
    }

    /// Whether it wants to know how requests are answered.
    pub(super) fn is_adaptive(&self) -> bool {
        self.follows.is_some()
    }

    /// Whose counter it is, without an allocation; the seed is this process's own, so that nobody can aim at another's counter.
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

    /// The same for Redis.
    pub(super) fn shared_key(&self, request: &Request<'_>) -> Key {
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
        // A policy that counts otherwise than the release before it counts anew.
        let [algorithm, _, period, ..] = self.term.rule.numbers().map(u64::to_le_bytes);
        rest.extend([&algorithm[..], &period[..]]);
        Key::of(SPACE, &parts[0], &rest)
    }
}
