//! The decision whether a failed call is retried, and after which delay.

use std::sync::Arc;
use std::time::Duration;

use bff_context::context::{Failure, RequestContext, SharedDeadline};
use tokio::time::Instant;

use super::policy::Policy;
use super::retry::RetryTraits;
use crate::endpoints::balance::Instance;

/// The attempts of one call so far.
pub(super) struct AttemptState<T> {
    pub(super) attempts: u32,
    /// Whether an earlier attempt may have been applied, although it failed.
    pub(super) uncertain: bool,
    /// The instance of the last attempt. The next attempt avoids it.
    pub(super) last_instance: Option<Arc<Instance<T>>>,
    /// The failure of the previous attempt.
    pub(super) last_failure: Option<Failure>,
}

impl<T: Send + Sync + 'static> Policy<T> {
    /// Whether an attempt that starts after `delay` would have too little time.
    ///
    /// Always false for calls with their own attempt timeout, because their duration depends on the client.
    pub(super) fn deadline_too_short(
        &self,
        deadline: &SharedDeadline,
        traits: RetryTraits,
        now: Instant,
        delay: Duration,
    ) -> bool {
        let time_left = deadline.instant().saturating_duration_since(now + delay);
        traits.attempt_timeout.is_none()
            && (self.deadline_filter).rejects(&self.latency, now, time_left)
    }

    /// The delay before a retry. `None` if no retry is allowed; otherwise the retry is deducted from the budget.
    pub(super) fn retry_delay(
        &self,
        cx: &RequestContext,
        deadline: &SharedDeadline,
        traits: RetryTraits,
        failure: &Failure,
        state: &AttemptState<T>,
    ) -> Option<Duration> {
        if !self.config.retry.allows_another(state.attempts)
            || !(traits.is_retryable)(failure, traits.idempotent)
        {
            return None;
        }
        let now = Instant::now();
        let time_left = deadline.instant().saturating_duration_since(now);
        let retries = state.attempts.saturating_sub(1);
        let retry_after = failure.retry_after();
        let random = self.env.random();
        let delay = (self.config.backoff).delay(retries, random, retry_after, time_left)?;
        if self.deadline_too_short(deadline, traits, now, delay) {
            return None;
        }
        // The budget comes last, so that only retries that happen are deducted.
        (self.budget.spend(cx.retry_allowance(), now)).then_some(delay)
    }
}
