//! When a backend fails too often or too slowly, it is not asked for a while; then a few probes decide.
//!
//! *Closed* lets every call through and counts. *Open* refuses at once. *Half-open* lets a few probes through:
//! enough good ones close it, one bad or slow one opens it again, for longer. Results of calls that began before
//! the last change say nothing about the present and are dropped.

use std::num::NonZeroU32;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::outcome::AttemptOutcome;
use crate::config::Ratio;
use window::Window;

#[cfg(test)]
mod tests;
mod window;

/// What a refused caller is told while probes are under way: they take about one attempt, and `Retry-After`
/// counts in seconds.
const HALF_OPEN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// When one backend's breaker opens and closes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How far back calls are counted, in ten steps. Default 10s: long enough for a ratio to mean something,
    /// short enough to notice an outage while it happens.
    #[serde(with = "crate::config::duration")]
    pub window: Duration,
    /// How many calls the window needs before its ratios count. Default 20: with fewer, bad luck looks like
    /// an outage.
    pub min_calls: NonZeroU32,
    /// Opens when this share of the window's calls failed. Default 0.5: retries and copies carry a lower one.
    pub failure_rate_threshold: Ratio,
    /// Opens when this share of the window's calls was slow. Default 0.9: a backend that is slow for nearly
    /// everybody is about to time out for everybody.
    pub slow_call_rate_threshold: Ratio,
    /// From when on a call is slow. Default: 80 % of the attempt timeout, the last moment at which slowness can
    /// be told from failure.
    #[serde(with = "crate::config::duration::option")]
    pub slow_call_threshold: Option<Duration>,
    /// Opens after so many failures in a row while the window holds less than its minimum; above the minimum,
    /// after as many as the minimum. Default 5: with little traffic there is no ratio to wait for, and with
    /// much of it five in a row are chance (once in 400 calls where three in ten fail).
    pub consecutive_failures: NonZeroU32,
    /// How long it stays open before the first probe. Default 10s: a restart takes about that.
    #[serde(with = "crate::config::duration")]
    pub open_duration: Duration,
    /// The longest it stays open; each failed round of probes doubles the time, with jitter. Default 1m: a
    /// backend that came back is noticed within it.
    #[serde(with = "crate::config::duration")]
    pub max_open_duration: Duration,
    /// How many probes may be under way at once. Default 3: enough to decide quickly, too few to hurt.
    pub half_open_max_calls: NonZeroU32,
    /// How many good probes close it. Default 3: one may be luck.
    pub half_open_successes: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        let count = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            window: Duration::from_secs(10),
            min_calls: count(20),
            failure_rate_threshold: Ratio::percent(50),
            slow_call_rate_threshold: Ratio::percent(90),
            slow_call_threshold: None,
            consecutive_failures: count(5),
            open_duration: Duration::from_secs(10),
            max_open_duration: Duration::from_secs(60),
            half_open_max_calls: count(3),
            half_open_successes: count(3),
        }
    }
}

/// The breaker of one backend.
#[derive(Debug)]
pub struct Breaker {
    config: Config,
    slow_call: Duration,
    seed: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    /// Counts changes of phase, so that a permit knows whether its phase is still on.
    generation: u64,
    /// How often it opened since it was last closed.
    opened: u32,
}

#[derive(Debug)]
enum Phase {
    Closed { window: Window, streak: u32 },
    Open { until: Instant },
    HalfOpen { under_way: u32, good: u32 },
}

/// What a breaker does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every call passes.
    Closed,
    /// None does.
    Open,
    /// Probes do.
    HalfOpen,
}

/// Refused: the backend is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitOpen {
    /// When it is worth trying again.
    pub retry_after: Duration,
}

impl Breaker {
    /// A closed breaker. `seed` decides its jitter, so that a simulation replays.
    pub fn new(config: &Config, attempt_timeout: Duration, seed: u64, now: Instant) -> Self {
        let inner = Inner {
            phase: Phase::closed(config, now),
            generation: 0,
            opened: 0,
        };
        Self {
            slow_call: config
                .slow_call_threshold
                .unwrap_or(attempt_timeout * 4 / 5),
            config: config.clone(),
            seed,
            inner: Mutex::new(inner),
        }
    }

    /// Lets one attempt through, or says when to try again.
    pub fn admit(&self, now: Instant) -> Result<Permit<'_>, CircuitOpen> {
        let mut inner = self.inner.lock();
        if let Phase::Open { until } = inner.phase {
            if now < until {
                let retry_after = until - now;
                return Err(CircuitOpen { retry_after });
            }
            inner.transition(Phase::HalfOpen {
                under_way: 0,
                good: 0,
            });
        }
        let mut probe = false;
        if let Phase::HalfOpen { under_way, .. } = &mut inner.phase {
            if *under_way >= self.config.half_open_max_calls.get() {
                let retry_after = HALF_OPEN_RETRY_AFTER;
                return Err(CircuitOpen { retry_after });
            }
            *under_way += 1;
            probe = true;
        }
        Ok(Permit {
            breaker: self,
            generation: inner.generation,
            began: now,
            timed: true,
            probe,
        })
    }

    /// What it does at the moment. An open one whose time is over waits for the next call to become half-open.
    pub fn state(&self) -> State {
        match self.inner.lock().phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn open(&self, inner: &mut Inner, now: Instant) {
        let open_for = self.config.open_duration;
        let longest = self.config.max_open_duration.max(open_for);
        let doubled = open_for.saturating_mul(1 << inner.opened.min(20));
        let most = doubled.min(longest);
        // The first time is exact; later ones are spread, or every replica would probe at the same moment.
        let least = open_for.max(most / 2);
        let ordinal = inner.generation.to_le_bytes();
        let spread = super::backoff::up_to(
            most.saturating_sub(least),
            xxh3_64_with_seed(&ordinal, self.seed),
        );
        inner.opened = inner.opened.saturating_add(1);
        let until = now + least + spread;
        inner.transition(Phase::Open { until });
    }

    /// Whether the calls counted are enough to open.
    fn trips(&self, window: &Window, streak: u32) -> bool {
        let c = &self.config;
        let sum = window.sum();
        if sum.calls < c.min_calls.get() {
            return streak >= c.consecutive_failures.get();
        }
        streak >= c.consecutive_failures.max(c.min_calls).get()
            || c.failure_rate_threshold.is_reached_by(sum.bad, sum.calls)
            || c.slow_call_rate_threshold
                .is_reached_by(sum.slow, sum.calls)
    }
}

impl Inner {
    fn transition(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
    }
}

impl Phase {
    fn closed(config: &Config, now: Instant) -> Self {
        let window = Window::new(config.window, now);
        Self::Closed { window, streak: 0 }
    }
}

/// One attempt on its way. Dropped without an outcome it says nothing, and makes room for another probe.
#[derive(Debug)]
#[must_use = "an attempt that is not reported says nothing"]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    generation: u64,
    began: Instant,
    /// Whether the time it takes is the backend's.
    timed: bool,
    /// Whether a probe's place is still held.
    probe: bool,
}

impl Permit<'_> {
    /// Says that how long the attempt takes is not the backend's doing, so that it is never slow.
    pub(super) fn ignore_latency(mut self) -> Self {
        self.timed = false;
        self
    }

    /// Reports how the attempt ended.
    pub fn done(mut self, now: Instant, outcome: AttemptOutcome) {
        let breaker = self.breaker;
        let slow = self.timed && now.saturating_duration_since(self.began) >= breaker.slow_call;
        let bad = match outcome {
            AttemptOutcome::Success => false,
            AttemptOutcome::Failure => true,
            AttemptOutcome::DeadlineExceeded if slow => true,
            // Only a probe's place is given back, by the drop.
            AttemptOutcome::DeadlineExceeded | AttemptOutcome::Ignored => return,
        };
        self.probe = false;
        let mut inner = breaker.inner.lock();
        if inner.generation != self.generation {
            return;
        }
        match &mut inner.phase {
            Phase::Closed { window, streak } => {
                window.record(now, bad, slow);
                *streak = if bad { streak.saturating_add(1) } else { 0 };
                if (bad || slow) && breaker.trips(window, *streak) {
                    breaker.open(&mut inner, now);
                }
            }
            Phase::HalfOpen { .. } if bad || slow => breaker.open(&mut inner, now),
            Phase::HalfOpen { under_way, good } => {
                *under_way -= 1;
                *good += 1;
                if *good >= breaker.config.half_open_successes.get() {
                    inner.opened = 0;
                    inner.transition(Phase::closed(&breaker.config, now));
                }
            }
            // No permit is of a generation in which it was open.
            Phase::Open { .. } => {}
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.probe {
            return;
        }
        let mut inner = self.breaker.inner.lock();
        if inner.generation != self.generation {
            return;
        }
        if let Phase::HalfOpen { under_way, .. } = &mut inner.phase {
            *under_way -= 1;
        }
    }
}
