//! The order of the policies around an attempt, outermost first: deadline filter, retry with its budget, load balancing,
//! hedge, bulkhead, circuit breaker, attempt timeout.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bff_context::context::{Failure, Reason, RequestContext, SharedDeadline};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use super::outcome::AttemptOutcome;
use super::policy::Policy;
use super::retry::RetryTraits;
use super::retry_delay::AttemptState;
use crate::endpoints::balance::{Instance, InstanceGuard};

/// A duration longer than any request.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 24 * 3600);

impl<T: Send + Sync + 'static> Policy<T> {
    /// Makes attempts until one succeeds, no retry is allowed, or the deadline is exceeded.
    ///
    /// # Errors
    /// The last failure; if a local policy rejected a retry, the failure before it.
    pub async fn call<R, F>(
        &self,
        cx: &RequestContext,
        deadline: &SharedDeadline,
        traits: RetryTraits,
        attempt: impl Fn(Arc<Instance<T>>, Duration) -> F,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let mut now = Instant::now();
        // Checked first: a response after the deadline would waste the backend's work and the client's time.
        if self.deadline_too_short(deadline, traits, now, Duration::ZERO) {
            return Err(Failure::new(Reason::Deadline)
                .not_sent()
                .with_cause("the remaining time is below the latency of fast responses"));
        }
        let mut state = AttemptState {
            attempts: 0,
            uncertain: false,
            last_instance: None,
            last_failure: None,
        };
        loop {
            let attempt = self.attempt_with_hedge(cx, deadline, traits, now, &attempt, &mut state);
            let failure = match attempt.await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let Some(delay) = self.retry_delay(cx, deadline, traits, &failure, &state) else {
                // If a local policy rejected the retry, the earlier failure is the real problem.
                let failure = match state.last_failure.take() {
                    Some(earlier) if failure.is_local_rejection() => earlier,
                    _ => failure,
                };
                return Err(if state.uncertain {
                    failure.after_uncertain_attempt()
                } else {
                    failure
                });
            };
            state.uncertain |= failure.may_have_been_applied();
            state.last_failure = Some(failure);
            self.metrics.retry(self.name, "retry");
            sleep(delay).await;
            now = Instant::now();
        }
    }

    /// Makes one attempt and, if it is slower than nearly all others, a hedge in parallel.
    async fn attempt_with_hedge<R, F>(
        &self,
        cx: &RequestContext,
        deadline: &SharedDeadline,
        traits: RetryTraits,
        now: Instant,
        attempt: &impl Fn(Arc<Instance<T>>, Duration) -> F,
        state: &mut AttemptState<T>,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        state.attempts += 1;
        let avoid = state.last_instance.as_deref();
        let Some(instance) = (self.instances).pick(now, self.env.random(), avoid) else {
            return Err(Failure::new(Reason::NoInstance).not_sent());
        };
        state.last_instance = Some(instance.instance().clone());
        let hedge_delay = traits.hedged.then(|| self.hedge.delay(&self.latency, now));
        let is_first = state.attempts == 1;
        // Boxed: a hedged call holds two attempts, and every policy around moves its future.
        let mut first =
            Box::pin(self.single_attempt(deadline, traits, now, instance, is_first, attempt));
        let Some(hedge_delay) = hedge_delay.flatten() else {
            return first.await;
        };
        tokio::select! {
            biased;
            result = &mut first => return result,
            () = sleep(hedge_delay) => {}
        }
        let now = Instant::now();
        let avoid = state.last_instance.as_deref();
        let other = (self.instances).pick(now, self.env.random(), avoid);
        let (true, Some(other)) = (self.config.retry.allows_another(state.attempts), other) else {
            return first.await;
        };
        let too_short = self.deadline_too_short(deadline, traits, now, Duration::ZERO);
        if too_short || !self.budget.spend(cx.retry_allowance(), now) {
            return first.await;
        }
        state.attempts += 1;
        self.metrics.retry(self.name, "hedge");
        let mut second =
            Box::pin(self.single_attempt(deadline, traits, now, other, false, attempt));
        // The first success is the result; a failure waits for the other attempt. The slower attempt is dropped, which
        // cancels it.
        tokio::select! {
            biased;
            result = &mut first => match result {
                Ok(value) => Ok(value),
                Err(_) => second.await,
            },
            result = &mut second => match result {
                Ok(value) => Ok(value),
                Err(_) => first.await,
            },
        }
    }

    /// Makes one attempt at one instance, if the bulkhead and the breaker admit it.
    ///
    /// `is_first` is false for retries and hedges, which deposit nothing in the retry budget.
    async fn single_attempt<R, F>(
        &self,
        deadline: &SharedDeadline,
        traits: RetryTraits,
        started: Instant,
        instance: InstanceGuard<'_, T>,
        is_first: bool,
        attempt: &impl Fn(Arc<Instance<T>>, Duration) -> F,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let time_left = deadline.instant().saturating_duration_since(started);
        if time_left.is_zero() {
            return Err(Failure::new(Reason::Deadline).not_sent());
        }
        let _call_permit = self.bulkhead.try_acquire()?;
        let stream_permit = traits.streaming.then(|| self.bulkhead.try_acquire_stream());
        let _stream_permit = stream_permit.transpose()?;
        let breaker_permit = self.breaker.admit(started).map_err(|open| {
            let failure = Failure::new(Reason::CircuitOpen).not_sent();
            failure.with_retry_after(Some(open.retry_after))
        })?;
        // Rejected calls do not deposit, so they cannot pay for extra attempts later.
        if is_first {
            self.budget.deposit();
        }
        let timeout = traits
            .attempt_timeout
            .unwrap_or(self.config.attempt_timeout);
        let attempt = attempt(instance.instance().clone(), timeout.min(time_left));
        let attempt = pin!(catch_panic(self.name, attempt));
        // An unlimited attempt timeout overflows; then only the shared deadline limits the attempt.
        let end = started.checked_add(timeout).unwrap_or(started + FAR_FUTURE);
        let result = deadline.timeout(end, attempt).await;
        let now = Instant::now();
        let outcome = result
            .as_ref()
            .map_or_else(AttemptOutcome::of, |_| AttemptOutcome::Success);
        if traits.attempt_timeout.is_some() {
            breaker_permit.ignore_latency().done(now, outcome);
            instance.ignore_latency().done(now, outcome);
            return result;
        }
        breaker_permit.done(now, outcome);
        instance.done(now, outcome);
        // The duration of a fast failure is not the latency of a response. A timeout counts with its full time.
        let timed_out = |f: &Failure| f.reason() == Reason::Timeout;
        if result.as_ref().map_or_else(timed_out, |_| true) {
            self.latency.record(now, now.duration_since(started));
        }
        result
    }
}

/// Turns a panic of an attempt into a failure of that attempt, so that it costs one section only.
pub(crate) async fn catch_panic<R>(
    upstream: &'static str,
    attempt: impl Future<Output = Result<R, Failure>>,
) -> Result<R, Failure> {
    let result = AssertUnwindSafe(attempt).catch_unwind().await;
    result.unwrap_or_else(|panic| Err(panic_failure(upstream, &*panic)))
}

/// The failure of a call that panicked. It also logs the panic.
fn panic_failure(upstream: &'static str, panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let message = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("no message");
    tracing::error!(target: "upstream", upstream, message, "a call panicked");
    Failure::new(Reason::BadResponse).with_cause(format!("the call panicked: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_the_failure_of_its_call() {
        let result = catch_panic::<()>("beta", async { panic!("unexpected {}", 7) }).await;
        let failure = result.unwrap_err();
        assert_eq!(failure.reason(), Reason::BadResponse);
        let text = format!("{failure:?}");
        assert!(text.contains("the call panicked: unexpected 7"), "{text}");
        assert_eq!(catch_panic("beta", async { Ok(1) }).await.unwrap(), 1);
    }
}
