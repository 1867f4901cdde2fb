//! How a backend stands beside the calls to it: what goes on there, and what is wrong with it.

use tokio::time::Instant;

use super::super::Upstream;
use super::super::breaker::State;
use super::{Instance, Policy, Reason};

impl<T: Send + Sync + 'static> Policy<T> {
    /// Counts what goes on at an instance after its attempt, until [`Self::leave`].
    pub(in crate::outbound) fn stay(&self, instance: &Instance<T>, lasting: bool) {
        self.bulkhead.acquire_unchecked(lasting);
        instance.acquire();
    }

    /// Ends what [`Self::stay`] began.
    pub(in crate::outbound) fn leave(&self, instance: &Instance<T>, lasting: bool) {
        self.bulkhead.release(lasting);
        instance.release();
    }

    /// Why a call made now might not be sent; `None` while all is well as far as is known.
    pub(crate) fn unhealthy_reason(&self) -> Option<Reason> {
        if self.instances.states(Instant::now()).is_empty() {
            return Some(Reason::NoInstance);
        }
        // Half-open it is not well yet either.
        (self.breaker.state() != State::Closed).then_some(Reason::CircuitOpen)
    }
}

impl Upstream {
    /// What is wrong with it at the moment, for operators.
    pub(crate) fn trouble(&self) -> Option<Reason> {
        self.0.unhealthy_reason()
    }
}
