//! The health of a backend outside its calls, and exchanges that continue after their attempt.

use tokio::time::Instant;

use super::super::Upstream;
use super::super::breaker::BreakerState;
use super::{Instance, Policy, Reason};

impl<T: Send + Sync + 'static> Policy<T> {
    /// Counts an exchange that continues after its attempt, until [`Self::release`].
    pub(in crate::outbound) fn acquire(&self, instance: &Instance<T>, streaming: bool) {
        self.bulkhead.acquire_unchecked(streaming);
        instance.acquire();
    }

    /// Ends an exchange that [`Self::acquire`] counted.
    pub(in crate::outbound) fn release(&self, instance: &Instance<T>, streaming: bool) {
        self.bulkhead.release(streaming);
        instance.release();
    }

    /// The reason why a call might be rejected now; `None` while the backend is healthy.
    pub fn unhealthy_reason(&self) -> Option<Reason> {
        if self.instances.states(Instant::now()).is_empty() {
            return Some(Reason::NoInstance);
        }
        // A half-open breaker rejects most calls too.
        (self.breaker.state() != BreakerState::Closed).then_some(Reason::CircuitOpen)
    }
}

impl Upstream {
    /// The reason why the backend is unhealthy, for operators.
    pub fn unhealthy_reason(&self) -> Option<Reason> {
        self.policy.unhealthy_reason()
    }
}
