//! What operators see of one policy: how often it let pass, refused or was closed.

use std::fmt;
use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter};

/// The counter of one policy's decisions.
pub(super) struct Decisions {
    counter: Counter<u64>,
    policy: String,
    /// Found when there is one to count: what never happened is not shown.
    passed: OnceLock<BoundCounter<u64>>,
    refused: OnceLock<BoundCounter<u64>>,
    closed: OnceLock<BoundCounter<u64>>,
}

impl Decisions {
    pub(super) fn new(counter: Counter<u64>, policy: &str) -> Self {
        Self {
            counter,
            policy: policy.to_owned(),
            passed: OnceLock::new(),
            refused: OnceLock::new(),
            closed: OnceLock::new(),
        }
    }

    /// One decision.
    pub(super) fn count(&self, allowed: bool) {
        if allowed {
            self.add(&self.passed, "allowed");
        } else {
            self.add(&self.refused, "rejected");
        }
    }

    /// Nobody could count, and the policy closes then.
    pub(super) fn closed(&self) {
        self.add(&self.closed, "fail_closed");
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
