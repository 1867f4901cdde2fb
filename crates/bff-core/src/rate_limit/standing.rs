//! How a caller stands with its limits, as its client reads it.
//!
//! `RateLimit-Policy` and `RateLimit` of the IETF draft (draft-ietf-httpapi-ratelimit-headers), one member for each
//! limit; the older `X-RateLimit-…` for the strictest. Times are whole seconds from now, rounded up.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::algorithm::{Decision, Rule};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// How a caller stands after a request.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    policy: String,
    state: String,
    /// Quota, remaining and reset of the limit with the least left.
    strictest: Option<[u64; 3]>,
    wait: u64,
}

impl Standing {
    /// Adds one limit.
    pub(super) fn add(&mut self, name: &str, rule: &Rule, decision: Decision) {
        let comma = if self.policy.is_empty() { "" } else { ", " };
        let (quota, window) = (rule.quota(), seconds(rule.window()));
        let (remaining, reset) = (decision.remaining, seconds(decision.reset));
        // Writing to a String does not fail.
        let _ = write!(self.policy, "{comma}\"{name}\";q={quota};w={window}");
        let _ = write!(self.state, "{comma}\"{name}\";r={remaining};t={reset}");
        let stricter = |[_, r, t]: [u64; 3]| remaining < r || (remaining == r && reset > t);
        if self.strictest.is_none_or(stricter) {
            self.strictest = Some([quota, remaining, reset]);
        }
        self.wait = self.wait.max(decision.wait);
    }

    /// How long the request waits its turn.
    pub fn wait(&self) -> Duration {
        Duration::from_micros(self.wait)
    }

    /// Writes it into an answer's head, in place of what a backend says of limits of its own.
    pub fn tell(self, headers: &mut HeaderMap) {
        let Some([quota, remaining, reset]) = self.strictest else {
            return;
        };
        for (name, text) in [(RATELIMIT_POLICY, self.policy), (RATELIMIT, self.state)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
        for (name, number) in [(X_LIMIT, quota), (X_REMAINING, remaining), (X_RESET, reset)] {
            headers.insert(name, HeaderValue::from(number));
        }
    }
}

/// Rounded up, so that nobody comes back early.
fn seconds(micros: u64) -> u64 {
    micros.div_ceil(1_000_000)
}
