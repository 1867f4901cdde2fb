//! The rate-limit headers of a response.
//!
//! `RateLimit-Policy` and `RateLimit` follow the IETF draft (draft-ietf-httpapi-ratelimit-headers), with one member for
//! each policy. The older `X-RateLimit-…` headers describe the strictest policy. Times are whole seconds from now,
//! rounded up.

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

/// The largest member of `RateLimit`, in bytes: a name of 64, two numbers of 20 digits, and delimiters.
const MEMBER_BYTES: usize = 64 + 56;

/// A rule with its header values, which are formatted once.
#[derive(Clone, Debug)]
pub(super) struct EffectiveLimit {
    pub(super) rule: Rule,
    /// The member of `RateLimit-Policy`.
    policy: HeaderValue,
    /// The value of `X-RateLimit-Limit`.
    quota: HeaderValue,
}

impl EffectiveLimit {
    pub(super) fn new(name: &str, rule: Rule) -> Self {
        let (quota, window) = (rule.quota(), seconds(rule.window()));
        let policy = format!("\"{name}\";q={quota};w={window}");
        Self {
            rule,
            // A name has only letters, digits, `-` and `_`, so this never fails.
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("")),
            quota: HeaderValue::from(quota),
        }
    }
}

/// The decision of one policy.
pub(super) struct PolicyResult<'a> {
    pub(super) name: &'a str,
    pub(super) effective: &'a EffectiveLimit,
    pub(super) decision: Decision,
}

/// The state of all policies that counted a request.
#[derive(Clone, Debug, Default)]
pub struct RateLimitState {
    headers: Option<Headers>,
    wait: u64,
    /// The adaptive policies that counted the request: one bit for each policy of the gateway.
    pub(super) adaptive: u64,
}

/// The header values. `X-RateLimit-Remaining` and `-Reset` are slices of `RateLimit`.
#[derive(Clone, Debug)]
struct Headers {
    policy: HeaderValue,
    quota: HeaderValue,
    state: Bytes,
    remaining: Range<usize>,
    reset: Range<usize>,
}

impl RateLimitState {
    /// Formats the headers of these results, in their order.
    pub(super) fn from_results(results: &[PolicyResult<'_>]) -> Self {
        let strictest = results.iter().enumerate().min_by_key(|(_, result)| {
            let reset = seconds(result.decision.reset);
            (result.decision.remaining, std::cmp::Reverse(reset))
        });
        let Some((strictest_at, strictest)) = strictest else {
            return Self::default();
        };
        let mut state = BytesMut::with_capacity(MEMBER_BYTES * results.len());
        let (mut remaining, mut reset) = (0..0, 0..0);
        for (at, result) in results.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let decision = &result.decision;
            // Writing to memory does not fail.
            let _ = write!(state, "{comma}\"{}\";r=", result.name);
            let start = state.len();
            let _ = write!(state, "{}", decision.remaining);
            let end = state.len();
            let _ = write!(state, ";t={}", seconds(decision.reset));
            if at == strictest_at {
                remaining = start..end;
                reset = end + ";t=".len()..state.len();
            }
        }
        let policy = match results {
            [one] => one.effective.policy.clone(),
            all => join(all.iter().map(|result| &result.effective.policy)),
        };
        Self {
            headers: Some(Headers {
                policy,
                quota: strictest.effective.quota.clone(),
                state: state.freeze(),
                remaining,
                reset,
            }),
            wait: results
                .iter()
                .map(|result| result.decision.wait)
                .max()
                .unwrap_or(0),
            adaptive: 0,
        }
    }

    /// Time that the request must wait for its turn.
    pub fn wait(&self) -> Duration {
        Duration::from_micros(self.wait)
    }

    /// Writes the headers into a response. They replace the rate-limit headers of a backend.
    pub fn write_headers(self, headers: &mut HeaderMap) {
        let Some(own) = self.headers else {
            return;
        };
        headers.insert(RATELIMIT_POLICY, own.policy);
        headers.insert(X_LIMIT, own.quota);
        let part = |range| own.state.slice(range);
        for (name, text) in [
            (X_REMAINING, part(own.remaining)),
            (X_RESET, part(own.reset)),
            (RATELIMIT, own.state),
        ] {
            if let Ok(value) = HeaderValue::from_maybe_shared(text) {
                headers.insert(name, value);
            }
        }
    }
}

fn join<'a>(parts: impl Iterator<Item = &'a HeaderValue>) -> HeaderValue {
    let mut all = Vec::new();
    for part in parts {
        if !all.is_empty() {
            all.extend_from_slice(b", ");
        }
        all.extend_from_slice(part.as_bytes());
    }
    HeaderValue::try_from(all).unwrap_or(HeaderValue::from_static(""))
}

/// Rounds up, so that a client never retries too early.
fn seconds(micros: u64) -> u64 {
    micros.div_ceil(1_000_000)
}
