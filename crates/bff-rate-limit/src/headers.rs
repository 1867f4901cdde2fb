//! How a caller stands with its limits, as its client reads it.
//!
//! `RateLimit-Policy` and `RateLimit` of the IETF draft (draft-ietf-httpapi-ratelimit-headers), one member for each
//! limit; the older `X-RateLimit-…` for the strictest. Times are whole seconds from now, rounded up.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::algorithm::{Decision, Rule};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The most bytes that one limit's part of `RateLimit` takes: its name, and two numbers of 20 digits.
const PART_BYTES: usize = 64 + 56;

/// A rule, and what answers say of it, written once.
#[derive(Clone, Debug)]
pub(super) struct EffectiveLimit {
    pub(super) rule: Rule,
    /// Its part of `RateLimit-Policy`.
    policy: HeaderValue,
    /// `X-RateLimit-Limit`.
    quota: HeaderValue,
}

impl EffectiveLimit {
    pub(super) fn new(name: &str, rule: Rule) -> Self {
        let (quota, window) = (rule.quota(), seconds(rule.window()));
        let policy = format!("\"{name}\";q={quota};w={window}");
        Self {
            rule,
            // A name is letters, digits, - and _: it always fits a header.
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("")),
            quota: HeaderValue::from(quota),
        }
    }
}

/// What one limit has decided.
pub(super) struct PolicyResult<'a> {
    pub(super) name: &'a str,
    pub(super) term: &'a EffectiveLimit,
    pub(super) decision: Decision,
}

/// How a caller stands after a request.
#[derive(Clone, Debug, Default)]
pub struct RateLimitState {
    told: Option<Headers>,
    wait: u64,
    /// The limits that want to know how the request is answered, a bit for each policy.
    pub(super) followed: u64,
}

/// The headers; what the strictest limit has left, and until when, is part of what all limits say.
#[derive(Clone, Debug)]
struct Headers {
    policy: HeaderValue,
    quota: HeaderValue,
    state: Bytes,
    remaining: Range<usize>,
    reset: Range<usize>,
}

impl RateLimitState {
    /// What these limits have decided, in their order.
    pub(super) fn of(told: &[PolicyResult<'_>]) -> Self {
        let strictest = told.iter().enumerate().min_by_key(|(_, told)| {
            let left = seconds(told.decision.reset);
            (told.decision.remaining, std::cmp::Reverse(left))
        });
        let Some((strictest, least)) = strictest else {
            return Self::default();
        };
        let mut state = BytesMut::with_capacity(PART_BYTES * told.len());
        let (mut remaining, mut reset) = (0..0, 0..0);
        for (at, told) in told.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let decision = &told.decision;
            // Writing to memory does not fail.
            let _ = write!(state, "{comma}\"{}\";r=", told.name);
            let begins = state.len();
            let _ = write!(state, "{}", decision.remaining);
            let between = state.len();
            let _ = write!(state, ";t={}", seconds(decision.reset));
            if at == strictest {
                remaining = begins..between;
                reset = between + ";t=".len()..state.len();
            }
        }
        let policy = match told {
            [one] => one.term.policy.clone(),
            all => joined(all.iter().map(|told| &told.term.policy)),
        };
        Self {
            told: Some(Headers {
                policy,
                quota: least.term.quota.clone(),
                state: state.freeze(),
                remaining,
                reset,
            }),
            wait: told
                .iter()
                .map(|told| told.decision.wait)
                .max()
                .unwrap_or(0),
            followed: 0,
        }
    }

    /// How long the request waits its turn.
    pub fn wait(&self) -> Duration {
        Duration::from_micros(self.wait)
    }

    /// Writes it into an answer's head, in place of what a backend says of limits of its own.
    pub fn write_headers(self, headers: &mut HeaderMap) {
        let Some(told) = self.told else {
            return;
        };
        headers.insert(RATELIMIT_POLICY, told.policy);
        headers.insert(X_LIMIT, told.quota);
        let part = |range| told.state.slice(range);
        for (name, text) in [
            (X_REMAINING, part(told.remaining)),
            (X_RESET, part(told.reset)),
            (RATELIMIT, told.state),
        ] {
            if let Ok(value) = HeaderValue::from_maybe_shared(text) {
                headers.insert(name, value);
            }
        }
    }
}

fn joined<'a>(parts: impl Iterator<Item = &'a HeaderValue>) -> HeaderValue {
    let mut all = Vec::new();
    for part in parts {
        if !all.is_empty() {
            all.extend_from_slice(b", ");
        }
        all.extend_from_slice(part.as_bytes());
    }
    HeaderValue::try_from(all).unwrap_or(HeaderValue::from_static(""))
}

/// Rounded up, so that nobody comes back early.
fn seconds(micros: u64) -> u64 {
    micros.div_ceil(1_000_000)
}
