//! What operators see of one policy: how often it let pass, refused or was closed.

use std::fmt;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;

/// The counter of one policy's decisions. Its labels are made once.
pub(super) struct Decisions {
    counter: Counter<u64>,
    passed: [KeyValue; 2],
    refused: [KeyValue; 2],
    closed: [KeyValue; 2],
}

impl Decisions {
    pub(super) fn new(counter: Counter<u64>, policy: &str) -> Self {
        let labels = |outcome| {
            let policy = KeyValue::new("policy", policy.to_owned());
            [policy, KeyValue::new("outcome", outcome)]
        };
        Self {
            counter,
            passed: labels("passed"),
            refused: labels("refused"),
            closed: labels("closed"),
        }
    }

    /// One decision.
    pub(super) fn count(&self, allowed: bool) {
        let labels = if allowed { &self.passed } else { &self.refused };
        self.counter.add(1, labels);
    }

    /// Nobody could count, and the policy closes then.
    pub(super) fn closed(&self) {
        self.counter.add(1, &self.closed);
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").finish_non_exhaustive()
    }
}
