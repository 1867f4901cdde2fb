//! What every call to one backend passes, whatever its protocol: budget, bulkhead, breaker, balancing, hedge, retry.
//!
//! Each is a state machine of its own; [`Policy::call`] puts them in order. `T` is what is kept for an instance.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::balance::{Endpoint, Instance, Instances, Picked};
use super::breaker::Breaker;
use super::budget::Budget;
use super::bulkhead::Bulkhead;
use super::hedge::Hedge;
use super::hopeless::Hopeless;
use super::latency::Latency;
use super::outcome::Outcome;
use super::{Config, Failure, Reason, Repeat, Until};
use crate::context::{Cx, Shared};
use crate::discovery::{self, First, Following};
use crate::net;

mod standing;

/// Longer than any request.
const FOR_EVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// The policies of one backend.
#[derive(Debug)]
pub(crate) struct Policy<T> {
    name: &'static str,
    config: Config,
    instances: Arc<Instances<T>>,
    following: Following,
    budget: Budget,
    bulkhead: Bulkhead,
    breaker: Breaker,
    latency: Latency,
    hedge: Hedge,
    hopeless: Hopeless,
}

/// What one call has done so far.
struct Tries<T> {
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
        shared: &Shared,
        make: impl Fn(&Endpoint) -> T + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let now = net::now();
        let seed = shared.world.random();
        let instances = Arc::new(Instances::new(&config.balance, &config.ejection, now));
        let known = instances.clone();
        let give = move |found: &[Endpoint]| known.replace(found, &make);
        let (url, discovery) = (&config.url, &config.discovery);
        let following = discovery::follow(name, url, discovery, &shared.world, give)
            .map_err(|error| format!("upstreams.{name}.discovery.{error}"))?;
        Ok(Self {
            name,
            instances,
            following,
            budget: Budget::new(&config.budget, now),
            bulkhead: Bulkhead::new(&config.bulkhead),
            breaker: Breaker::new(&config.breaker, config.attempt_timeout, seed, now),
            latency: Latency::new(&config.latency, now),
            hedge: Hedge::new(&config.hedge, now),
            hopeless: Hopeless::new(&config.hopeless, now),
            config: config.clone(),
        })
    }

    /// The backend's name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The first answer about its instances.
    pub(crate) fn first(&self) -> First {
        self.following.first().clone()
    }

    /// How the backend is called.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Attempts until one answers, nothing more may be tried, or the time is up.
    pub(crate) async fn call<R, F>(
        &self,
        cx: &Cx,
        until: &Until,
        repeat: Repeat,
        attempt: impl Fn(Arc<Instance<T>>, Duration) -> F,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let mut now = net::now();
        // What cannot be answered in time is not asked: it would cost the backend work and the client its patience.
        if self.is_hopeless(until, repeat, now, Duration::ZERO) {
            return Err(Failure::new(Reason::Deadline)
                .unsent()
                .because("less time is left than even quick answers take"));
        }
        let mut tries = Tries {
            attempts: 0,
            uncertain: false,
            last: None,
            failed: None,
        };
        loop {
            let round = self.round(cx, until, repeat, now, &attempt, &mut tries);
            let failure = match round.await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let Some(wait) = self.before_the_next(cx, until, repeat, &failure, &tries) else {
                // A retry that a policy refused says nothing about the backend: what made it needed does.
                let failure = match tries.failed.take() {
                    Some(earlier) if failure.is_our_refusal() => earlier,
                    _ => failure,
                };
                return Err(if tries.uncertain {
                    failure.though_perhaps_done()
                } else {
                    failure
                });
            };
            tries.uncertain |= failure.is_uncertain();
            tries.failed = Some(failure);
            cx.shared().metrics.extra_attempt(self.name, "retry");
            sleep(wait).await;
            now = net::now();
        }
    }

    /// Whether an attempt begun after `wait` would have too little time. Not of one that takes as long as its client.
    fn is_hopeless(&self, until: &Until, repeat: Repeat, now: Instant, wait: Duration) -> bool {
        let left = until.get().saturating_duration_since(now + wait);
        repeat.within.is_none() && self.hopeless.is(&self.latency, now, left)
    }

    /// How long to wait before trying again, paid for; `None` to give up.
    fn before_the_next(
        &self,
        cx: &Cx,
        until: &Until,
        repeat: Repeat,
        failure: &Failure,
        tries: &Tries<T>,
    ) -> Option<Duration> {
        if !self.config.retry.has_more(tries.attempts) || !(repeat.worth)(failure, repeat.harmless)
        {
            return None;
        }
        let now = net::now();
        let left = until.get().saturating_duration_since(now);
        let retries = tries.attempts.saturating_sub(1);
        let hint = failure.retry_hint();
        let wait = (self.config.backoff).wait(retries, cx.world().random(), hint, left)?;
        if self.is_hopeless(until, repeat, now, wait) {
            return None;
        }
        // Last, so that nothing is paid for a retry that does not happen.
        self.budget.spend(cx.extra(), now).then_some(wait)
    }

    /// One attempt and, when it takes longer than nearly all others do, one that races it.
    async fn round<R, F>(
        &self,
        cx: &Cx,
        until: &Until,
        repeat: Repeat,
        now: Instant,
        attempt: &impl Fn(Arc<Instance<T>>, Duration) -> F,
        tries: &mut Tries<T>,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        tries.attempts += 1;
        let picked = (self.instances).pick(now, cx.world().random(), tries.last.as_deref());
        let Some(picked) = picked else {
            return Err(Failure::new(Reason::NoInstance).unsent());
        };
        tries.last = Some(picked.instance().clone());
        let delay = repeat.hedged.then(|| self.hedge.delay(&self.latency, now));
        let needed = tries.attempts == 1;
        // Boxed, for a hedged call has two of them, and its own future is moved through every policy around it.
        let mut first = Box::pin(self.one(until, repeat, now, picked, needed, attempt));
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
        let (true, Some(other)) = (self.config.retry.has_more(tries.attempts), other) else {
            return first.await;
        };
        let hopeless = self.is_hopeless(until, repeat, now, Duration::ZERO);
        if hopeless || !self.budget.spend(cx.extra(), now) {
            return first.await;
        }
        tries.attempts += 1;
        cx.shared().metrics.extra_attempt(self.name, "hedge");
        let mut second = Box::pin(self.one(until, repeat, now, other, false, attempt));
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
    async fn one<R, F>(
        &self,
        until: &Until,
        repeat: Repeat,
        began: Instant,
        picked: Picked<'_, T>,
        needed: bool,
        attempt: &impl Fn(Arc<Instance<T>>, Duration) -> F,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let left = until.get().saturating_duration_since(began);
        if left.is_zero() {
            return Err(Failure::new(Reason::Deadline).unsent());
        }
        let _place = self.bulkhead.enter()?;
        let lasting = repeat.lasting.then(|| self.bulkhead.enter_stream());
        let _stream = lasting.transpose()?;
        let permit = self.breaker.admit(began).map_err(|open| {
            let failure = Failure::new(Reason::CircuitOpen).unsent();
            failure.retry_after(Some(open.retry_after))
        })?;
        // What the backend is spared by now pays for no extra attempts later.
        if needed {
            self.budget.deposit();
        }
        let within = repeat.within.unwrap_or(self.config.attempt_timeout);
        let bound = within.min(left);
        let attempt = pin!(attempt(picked.instance().clone(), bound));
        // An attempt without a time of its own ends with the call, wherever that end moves.
        let end = began.checked_add(within).unwrap_or(began + FOR_EVER);
        let done = until.cut(end, attempt).await;
        let now = net::now();
        let outcome = done.as_ref().map_or_else(Outcome::of, |_| Outcome::Good);
        if repeat.within.is_some() {
            permit.untimed().done(now, outcome);
            picked.untimed().done(now, outcome);
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
