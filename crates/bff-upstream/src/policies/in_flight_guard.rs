//! The guard of an exchange that continues after its attempt.

use std::sync::Arc;

use super::policy::Policy;
use crate::endpoints::balance::Instance;

/// Counts an exchange as in flight after its attempt, until this guard is dropped.
#[derive(Debug)]
pub struct InFlightGuard<T: Send + Sync + 'static> {
    policy: Arc<Policy<T>>,
    instance: Arc<Instance<T>>,
    streaming: bool,
}

impl<T: Send + Sync + 'static> InFlightGuard<T> {
    /// Acquires a bulkhead permit, of the streams or of the calls, and counts the exchange at `instance`.
    pub fn acquire(policy: &Arc<Policy<T>>, instance: Arc<Instance<T>>, streaming: bool) -> Self {
        policy.acquire(&instance, streaming);
        let policy = policy.clone();
        Self {
            policy,
            instance,
            streaming,
        }
    }
}

impl<T: Send + Sync + 'static> Drop for InFlightGuard<T> {
    fn drop(&mut self) {
        self.policy.release(&self.instance, self.streaming);
    }
}
