//! `bff_rate_limit_decisions_total`: decisions by policy and outcome.

use std::fmt;
use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter};

/// The counter of one policy's decisions.
pub(super) struct Decisions {
    counter: Counter<u64>,
    policy: String,
    /// Each series is created by its first decision, so that `/metrics` has no series of zeros.
    allowed: OnceLock<BoundCounter<u64>>,
    rejected: OnceLock<BoundCounter<u64>>,
    fail_closed: OnceLock<BoundCounter<u64>>,
}

impl Decisions {
    pub(super) fn new(counter: Counter<u64>, policy: &str) -> Self {
        Self {
            counter,
            policy: policy.to_owned(),
            allowed: OnceLock::new(),
            rejected: OnceLock::new(),
            fail_closed: OnceLock::new(),
        }
    }

    /// Counts one decision.
    pub(super) fn count(&self, allowed: bool) {
        if allowed {
            self.add(&self.allowed, "allowed");
        } else {
            self.add(&self.rejected, "rejected");
        }
    }

    /// Counts a rejection because Redis is unavailable.
    pub(super) fn count_fail_closed(&self) {
        self.add(&self.fail_closed, "fail_closed");
    }

    fn add(&self, series: &OnceLock<BoundCounter<u64>>, outcome: &'static str) {
        let series = series.get_or_init(|| {
            let policy = KeyValue::new("policy", self.policy.clone());
            (self.counter).bind(&[policy, KeyValue::new("outcome", outcome)])
        });
        series.add(1);
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").finish_non_exhaustive()
    }
}
