//! The circuit breaker of one backend.
//!
//! *Closed*: all calls pass and are counted. *Open*: all calls are rejected at once. *Half-open*: a few probe calls
//! pass. Enough successful probes close the breaker; one failed or slow probe opens it again, for a longer time.
//! Results of calls that started before the last change of state are ignored.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::policies::outcome::AttemptOutcome;
use window::Window;

pub use config::Config;

mod config;
#[cfg(test)]
mod tests;
mod window;

/// The `Retry-After` of a call rejected in the half-open state. Probes take about one attempt, and the header's unit
/// is a second.
const HALF_OPEN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The circuit breaker of one backend.
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
    /// The number of transitions. A permit compares it to find out whether its phase has ended.
    generation: u64,
    /// The number of times the breaker opened since it was last closed.
    opened: u32,
}

#[derive(Debug)]
enum Phase {
    Closed {
        window: Window,
        consecutive_failures: u32,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        in_flight: u32,
        successes: u32,
    },
}

/// The current state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All calls pass.
    Closed,
    /// All calls are rejected.
    Open,
    /// Only probes pass.
    HalfOpen,
}

/// The error of a call that the breaker rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitOpen {
    /// The delay after which a retry makes sense.
    pub retry_after: Duration,
}

impl Breaker {
    /// Creates a closed breaker. `seed` determines its jitter, so that a simulation is reproducible.
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

    /// Admits one attempt.
    ///
    /// # Errors
    /// [`CircuitOpen`] while the breaker is open, or half-open with all probes in flight.
    pub fn admit(&self, now: Instant) -> Result<CallPermit<'_>, CircuitOpen> {
        let mut inner = self.inner.lock();
        if let Phase::Open { until } = inner.phase {
            if now < until {
                let retry_after = until - now;
                return Err(CircuitOpen { retry_after });
            }
            inner.transition(Phase::HalfOpen {
                in_flight: 0,
                successes: 0,
            });
        }
        let mut probe = false;
        if let Phase::HalfOpen { in_flight, .. } = &mut inner.phase {
            if *in_flight >= self.config.half_open_max_calls.get() {
                let retry_after = HALF_OPEN_RETRY_AFTER;
                return Err(CircuitOpen { retry_after });
            }
            *in_flight += 1;
            probe = true;
        }
        Ok(CallPermit {
            breaker: self,
            generation: inner.generation,
            started: now,
            measure_latency: true,
            probe,
        })
    }

    /// The current state. An open breaker becomes half-open with the first call after its open time, not earlier.
    pub fn state(&self) -> BreakerState {
        match self.inner.lock().phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn open(&self, inner: &mut Inner, now: Instant) {
        let initial = self.config.open_duration;
        let longest = self.config.max_open_duration.max(initial);
        let doubled = initial.saturating_mul(1 << inner.opened.min(20));
        let max = doubled.min(longest);
        // The first open time has no jitter. Later ones do, or all replicas would probe at the same moment.
        let min = initial.max(max / 2);
        let generation = inner.generation.to_le_bytes();
        let jitter = super::backoff::random_below(
            max.saturating_sub(min),
            xxh3_64_with_seed(&generation, self.seed),
        );
        inner.opened = inner.opened.saturating_add(1);
        let until = now + min + jitter;
        inner.transition(Phase::Open { until });
    }

    /// Whether the counted calls open the breaker.
    fn should_open(&self, window: &Window, consecutive_failures: u32) -> bool {
        let config = &self.config;
        let sum = window.sum();
        if sum.calls < config.min_calls.get() {
            return consecutive_failures >= config.consecutive_failures.get();
        }
        consecutive_failures >= config.consecutive_failures.max(config.min_calls).get()
            || (config.failure_rate_threshold).is_reached_by(sum.failures, sum.calls)
            || (config.slow_call_rate_threshold).is_reached_by(sum.slow, sum.calls)
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
        Self::Closed {
            window,
            consecutive_failures: 0,
        }
    }
}

/// The permit of one attempt. Dropped without an outcome, it records nothing, and a probe's slot becomes free.
#[derive(Debug)]
#[must_use = "an attempt that is not reported has no effect on the breaker"]
pub struct CallPermit<'a> {
    breaker: &'a Breaker,
    generation: u64,
    started: Instant,
    /// Whether the backend alone determines the duration.
    measure_latency: bool,
    /// Whether the permit holds one of the half-open probe slots.
    probe: bool,
}

impl CallPermit<'_> {
    /// Excludes the attempt's duration, so that the attempt never counts as slow.
    pub(super) fn ignore_latency(mut self) -> Self {
        self.measure_latency = false;
        self
    }

    /// Reports the outcome of the attempt.
    pub fn done(mut self, now: Instant, outcome: AttemptOutcome) {
        let breaker = self.breaker;
        let duration = now.saturating_duration_since(self.started);
        let slow = self.measure_latency && duration >= breaker.slow_call;
        let failed = match outcome {
            AttemptOutcome::Success => false,
            AttemptOutcome::Failure => true,
            AttemptOutcome::DeadlineExceeded if slow => true,
            // The drop releases the slot of a probe; nothing else changes.
            AttemptOutcome::DeadlineExceeded | AttemptOutcome::Ignored => return,
        };
        self.probe = false;
        let mut inner = breaker.inner.lock();
        if inner.generation != self.generation {
            return;
        }
        match &mut inner.phase {
            Phase::Closed {
                window,
                consecutive_failures,
            } => {
                window.record(now, failed, slow);
                *consecutive_failures = if failed {
                    consecutive_failures.saturating_add(1)
                } else {
                    0
                };
                if (failed || slow) && breaker.should_open(window, *consecutive_failures) {
                    breaker.open(&mut inner, now);
                }
            }
            Phase::HalfOpen { .. } if failed || slow => breaker.open(&mut inner, now),
            Phase::HalfOpen {
                in_flight,
                successes,
            } => {
                *in_flight -= 1;
                *successes += 1;
                if *successes >= breaker.config.half_open_successes.get() {
                    inner.opened = 0;
                    inner.transition(Phase::closed(&breaker.config, now));
                }
            }
            // Unreachable: an open breaker admits no call, so no permit has this generation.
            Phase::Open { .. } => {}
        }
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        if !self.probe {
            return;
        }
        let mut inner = self.breaker.inner.lock();
        if inner.generation != self.generation {
            return;
        }
        if let Phase::HalfOpen { in_flight, .. } = &mut inner.phase {
            *in_flight -= 1;
        }
    }
}
