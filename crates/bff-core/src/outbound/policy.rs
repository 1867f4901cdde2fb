//! What every call to one backend passes, whatever its protocol: budget, bulkhead, breaker, balancing, hedge, retry.
//!
//! Each is a state machine of its own; [`Policy::call`] puts them in order. `T` is what is kept for an instance.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::balance::{Endpoint, Instance, InstanceGuard, Instances};
use super::breaker::Breaker;
use super::budget::Budget;
use super::bulkhead::Bulkhead;
use super::deadline_filter::DeadlineFilter;
use super::hedge::Hedge;
use super::latency::Latency;
use super::outcome::AttemptOutcome;
use super::{Config, Failure, Reason, RetryTraits, SharedDeadline};
use crate::context::{GatewayHandles, RequestContext};
use crate::discovery::{self, InitialResolution, WatchHandle};
use crate::net;

mod health;

/// Longer than any request.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The policies of one backend.
#[derive(Debug)]
pub(crate) struct Policy<T> {
    name: &'static str,
    config: Config,
    instances: Arc<Instances<T>>,
    following: WatchHandle,
    budget: Budget,
    bulkhead: Bulkhead,
    breaker: Breaker,
    latency: Latency,
    hedge: Hedge,
    hopeless: DeadlineFilter,
}

/// What one call has done so far.
struct AttemptState<T> {
    attempts: u32,
    /// An earlier attempt may have done what was asked, though nobody said so.
    uncertain: bool,
    /// Who was asked last: somebody else is asked next.
    last: Option<Arc<Instance<T>>>,
    /// How the last attempt that was really made failed.
    failed: Option<Failure>,
}

impl<T: Send + Sync + 'static> Policy<T> {
    /// The policies of a backend; `make` makes what is kept for each instance. The error is one line that names the
    /// key in question.
    pub(crate) fn new(
        name: &'static str,
        config: &Config,
        shared: &GatewayHandles,
        make: impl Fn(&Endpoint) -> T + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let now = net::now();
        let seed = shared.env.random();
        let instances = Arc::new(Instances::new(
            &config.load_balancing,
            &config.outlier_detection,
            now,
        ));
        let known = instances.clone();
        let give = move |found: &[Endpoint]| known.replace(found, &make);
        let (url, discovery) = (&config.url, &config.discovery);
        let following = discovery::watch(name, url, discovery, &shared.env, give)
            .map_err(|error| format!("upstreams.{name}.discovery.{error}"))?;
        Ok(Self {
            name,
            instances,
            following,
            budget: Budget::new(&config.retry_budget, now),
            bulkhead: Bulkhead::new(&config.bulkhead),
            breaker: Breaker::new(&config.circuit_breaker, config.attempt_timeout, seed, now),
            latency: Latency::new(&config.latency, now),
            hedge: Hedge::new(&config.hedge, now),
            hopeless: DeadlineFilter::new(&config.deadline_filter, now),
            config: config.clone(),
        })
    }

    /// The backend's name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The first answer about its instances.
    pub(crate) fn first(&self) -> InitialResolution {
        self.following.first().clone()
    }

    /// How the backend is called.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Attempts until one answers, nothing more may be tried, or the time is up.
    pub(crate) async fn call<R, F>(
        &self,
        cx: &RequestContext,
        until: &SharedDeadline,
        repeat: RetryTraits,
        attempt: impl Fn(Arc<Instance<T>>, Duration) -> F,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let mut now = net::now();
        // What cannot be answered in time is not asked: it would cost the backend work and the client its patience.
        if self.deadline_too_short(until, repeat, now, Duration::ZERO) {
            return Err(Failure::new(Reason::Deadline)
                .not_sent()
                .with_cause("less time is left than even quick answers take"));
        }
        let mut tries = AttemptState {
            attempts: 0,
            uncertain: false,
            last: None,
            failed: None,
        };
        loop {
            let round = self.attempt_with_hedge(cx, until, repeat, now, &attempt, &mut tries);
            let failure = match round.await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let Some(wait) = self.retry_delay(cx, until, repeat, &failure, &tries) else {
                // A retry that a policy refused says nothing about the backend: what made it needed does.
                let failure = match tries.failed.take() {
                    Some(earlier) if failure.is_local_rejection() => earlier,
                    _ => failure,
                };
                return Err(if tries.uncertain {
                    failure.after_uncertain_attempt()
                } else {
                    failure
                });
            };
            tries.uncertain |= failure.may_have_been_applied();
            tries.failed = Some(failure);
            cx.shared().metrics.extra_attempt(self.name, "retry");
            sleep(wait).await;
            now = net::now();
        }
    }

    /// Whether an attempt begun after `wait` would have too little time. Not of one that takes as long as its client.
    fn deadline_too_short(
        &self,
        until: &SharedDeadline,
        repeat: RetryTraits,
        now: Instant,
        wait: Duration,
    ) -> bool {
        let left = until.instant().saturating_duration_since(now + wait);
        repeat.attempt_timeout.is_none() && self.hopeless.rejects(&self.latency, now, left)
    }

    /// How long to wait before trying again, paid for; `None` to give up.
    fn retry_delay(
        &self,
        cx: &RequestContext,
        until: &SharedDeadline,
        repeat: RetryTraits,
        failure: &Failure,
        tries: &AttemptState<T>,
    ) -> Option<Duration> {
        if !self.config.retry.allows_another(tries.attempts)
            || !(repeat.is_retryable)(failure, repeat.idempotent)
        {
            return None;
        }
        let now = net::now();
        let left = until.instant().saturating_duration_since(now);
        let retries = tries.attempts.saturating_sub(1);
        let hint = failure.retry_after();
        let wait = (self.config.backoff).wait(retries, cx.world().random(), hint, left)?;
        if self.deadline_too_short(until, repeat, now, wait) {
            return None;
        }
        // Last, so that nothing is paid for a retry that does not happen.
        self.budget.spend(cx.retry_allowance(), now).then_some(wait)
    }

    /// One attempt and, when it takes longer than nearly all others do, one that races it.
    async fn attempt_with_hedge<R, F>(
        &self,
        cx: &RequestContext,
        until: &SharedDeadline,
        repeat: RetryTraits,
        now: Instant,
        attempt: &impl Fn(Arc<Instance<T>>, Duration) -> F,
        tries: &mut AttemptState<T>,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        tries.attempts += 1;
        let picked = (self.instances).pick(now, cx.world().random(), tries.last.as_deref());
        let Some(picked) = picked else {
            return Err(Failure::new(Reason::NoInstance).not_sent());
        };
        tries.last = Some(picked.instance().clone());
        let delay = repeat.hedged.then(|| self.hedge.delay(&self.latency, now));
        let needed = tries.attempts == 1;
        // Boxed, for a hedged call has two of them, and its own future is moved through every policy around it.
        let mut first = Box::pin(self.single_attempt(until, repeat, now, picked, needed, attempt));
        let Some(delay) = delay.flatten() else {
            return first.await;
        };
        tokio::select! {
            biased;
            done = &mut first => return done,
            () = sleep(delay) => {}
        }
        let now = net::now();
        let other = (self.instances).pick(now, cx.world().random(), tries.last.as_deref());
        let (true, Some(other)) = (self.config.retry.allows_another(tries.attempts), other) else {
            return first.await;
        };
        let hopeless = self.deadline_too_short(until, repeat, now, Duration::ZERO);
        if hopeless || !self.budget.spend(cx.retry_allowance(), now) {
            return first.await;
        }
        tries.attempts += 1;
        cx.shared().metrics.extra_attempt(self.name, "hedge");
        let mut second = Box::pin(self.single_attempt(until, repeat, now, other, false, attempt));
        // The first answer counts; a failure waits for the other one. The loser is dropped, and so cancelled.
        tokio::select! {
            biased;
            done = &mut first => match done {
                Ok(value) => Ok(value),
                Err(_) => second.await,
            },
            done = &mut second => match done {
                Ok(value) => Ok(value),
                Err(_) => first.await,
            },
        }
    }

    /// One attempt at one instance, if there is room and the breaker lets it: `needed` as a call's first, or an extra one.
    async fn single_attempt<R, F>(
        &self,
        until: &SharedDeadline,
        repeat: RetryTraits,
        began: Instant,
        picked: InstanceGuard<'_, T>,
        needed: bool,
        attempt: &impl Fn(Arc<Instance<T>>, Duration) -> F,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let left = until.instant().saturating_duration_since(began);
        if left.is_zero() {
            return Err(Failure::new(Reason::Deadline).not_sent());
        }
        let _place = self.bulkhead.enter()?;
        let lasting = repeat.streaming.then(|| self.bulkhead.enter_stream());
        let _stream = lasting.transpose()?;
        let permit = self.breaker.admit(began).map_err(|open| {
            let failure = Failure::new(Reason::CircuitOpen).not_sent();
            failure.with_retry_after(Some(open.retry_after))
        })?;
        // What the backend is spared by now pays for no extra attempts later.
        if needed {
            self.budget.deposit();
        }
        let within = repeat
            .attempt_timeout
            .unwrap_or(self.config.attempt_timeout);
        let bound = within.min(left);
        let attempt = pin!(attempt(picked.instance().clone(), bound));
        // An attempt without a time of its own ends with the call, wherever that end moves.
        let end = began.checked_add(within).unwrap_or(began + FAR_FUTURE);
        let done = until.timeout(end, attempt).await;
        let now = net::now();
        let outcome = done
            .as_ref()
            .map_or_else(AttemptOutcome::of, |_| AttemptOutcome::Success);
        if repeat.attempt_timeout.is_some() {
            permit.ignore_latency().done(now, outcome);
            picked.ignore_latency().done(now, outcome);
            return done;
        }
        permit.done(now, outcome);
        picked.done(now, outcome);
        // What failed at once says nothing about how long an answer takes.
        let timed_out = |f: &Failure| f.reason() == Reason::Timeout;
        if done.as_ref().map_or_else(timed_out, |_| true) {
            self.latency.record(now, now.duration_since(began));
        }
        done
    }
}
