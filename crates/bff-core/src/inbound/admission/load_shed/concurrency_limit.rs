//! The limit of concurrent requests, found by measurement: a gradient limit that verifies its own decisions.
//!
//! The limit is adjusted once per window. While the latency is near the baseline, a limit in use grows by its square
//! root. If the latency exceeds [`Config::latency_tolerance`] times the baseline, the limit shrinks in proportion. This
//! is the gradient of Netflix's concurrency-limits, after TCP Vegas (Brakmo and Peterson 1995). If requests are dropped
//! (too late, or without capacity at a backend), a factor reduces the limit, as in AIMD (Chiu and Jain 1989).
//! AIMD alone would let the latency grow to the deadline before it reacts.
//!
//! The weak point of a gradient is its baseline. A long average (gradient2) follows a lasting overload until overload
//! is the baseline. A minimum (Vegas, BBR) never adapts to a backend that became slower without overload, and starves
//! its clients. Here the baseline is learned only while at most [`Config::min`] requests are in flight: then no limit
//! applies. Under load it can only decrease.
//!
//! After each decrease of the limit we check its effect. By Little's law, the number in flight is throughput times
//! latency, so if it fell, one of them fell. If the latency fell, load was the cause, and the decrease was right. If
//! the throughput fell, load was not the cause: the new latency becomes the baseline, and the limit is restored.
//!
//! While requests are rejected, the same experiment runs deliberately from time to time, as BBR probes for its minimum.
//! A gateway that started during an overload has no other way to learn its baseline.

use std::time::Duration;

use tokio::time::Instant;

use window::{Measurement, Window};

pub use config::Config;

mod config;
#[cfg(test)]
mod tests;
mod window;

/// The ratio of dropped requests from which a window decreases the limit.
const DROP_RATIO_THRESHOLD: f64 = 0.1;
/// The factor by which dropped requests decrease the limit.
const DROP_BACKOFF: f64 = 0.8;
/// The smallest factor of one decrease, so that one unusual window does not close the gateway.
const MIN_DECREASE: f64 = 0.5;
/// The weight of one window in the baseline.
const BASELINE_WEIGHT: f64 = 0.2;
/// A decrease starts from at most this multiple of the number in flight. From a much higher limit it would have no
/// effect.
const MAX_LIMIT_TO_USAGE: f64 = 1.5;
/// Up to this multiple of the baseline the gateway counts as unloaded: no request waits. After two such windows in a
/// row, a limit in use grows by [`UNLOADED_GROWTH`] instead of its square root. The second window measures what the
/// first admitted.
const UNLOADED_LATENCY: f64 = 1.25;
/// The growth per unloaded window, as a fraction of the limit: five times the load is admitted within two seconds.
const UNLOADED_GROWTH: f64 = 0.25;
/// An experiment ends when the number in flight is at most this fraction of its value at the start.
const EXPERIMENT_END_USAGE: f64 = 0.65;
/// If load is the cause, the latency is then at most this fraction of its value at the start: halfway from 0.65 to 1.
const EXPERIMENT_END_LATENCY: f64 = 0.82;
/// The factor of a deliberate decrease. With a half, a latency of twice the baseline would not become visible.
const EXPERIMENT_FRACTION: f64 = 0.25;
/// The interval of deliberate experiments while requests are rejected. Each takes one window, so they cost less than 1
/// % of the throughput.
const EXPERIMENT_INTERVAL: Duration = Duration::from_secs(30);

/// The outcome of one request, as a signal of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It completed after this time.
    Completed(Duration),
    /// It ended after this time because it was too late, or a backend had no capacity.
    Dropped(Duration),
    /// The client disconnected after this time. A time above the baseline counts as a latency, because the slowest
    /// requests would be missing otherwise. A shorter time is ignored.
    Disconnected(Duration),
}

/// The limit of concurrent requests of one gateway.
#[derive(Clone, Debug)]
pub struct AdaptiveConcurrencyLimit {
    config: Config,
    /// The limit. Growth adds to its fraction.
    limit: f64,
    /// The latency of a request that waits for no other, in seconds. `None` until the first window ends.
    baseline: Option<f64>,
    window: Window,
    experiment: Option<Experiment>,
    /// The last time at which the baseline was verified with few requests in flight.
    verified: Instant,
    /// Whether the last window was unloaded.
    unloaded: bool,
    /// Whether the limit just decreased. Requests admitted before still end in this window, so it is not used.
    cooling_down: bool,
}

/// The state at the start of an experiment. Usage and latency are the highest values since then.
#[derive(Clone, Copy, Debug)]
struct Experiment {
    limit: f64,
    in_flight: f64,
    latency: f64,
    /// Whether it runs without a suspicion of overload. The limit is then restored whatever the result.
    deliberate: bool,
}

impl AdaptiveConcurrencyLimit {
    /// Starts with the initial limit and no measurement.
    pub fn new(config: &Config, now: Instant) -> Self {
        Self {
            limit: f64::from(config.initial.get()),
            config: config.clone(),
            baseline: None,
            window: Window::new(now),
            experiment: None,
            verified: now,
            unloaded: false,
            cooling_down: false,
        }
    }

    /// The number of requests that may be in flight now.
    pub fn current(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between min and max, which are of this type"
        )]
        let whole = self.limit as u32;
        whole.clamp(self.config.min.get(), self.config.max.get())
    }

    /// Records a rejected request: the limit is in use, whatever the average number in flight is.
    pub fn record_rejection(&mut self) {
        self.window.rejected = true;
    }

    /// Records the outcome of a request. `in_flight` includes it. Returns whether the limit may have changed.
    pub fn record_outcome(
        &mut self,
        now: Instant,
        outcome: RequestOutcome,
        in_flight: u32,
    ) -> bool {
        let latency = match outcome {
            RequestOutcome::Completed(latency) => latency,
            RequestOutcome::Dropped(latency) => {
                self.window.dropped += 1;
                latency
            }
            RequestOutcome::Disconnected(latency)
                if (self.baseline).is_some_and(|baseline| latency.as_secs_f64() > baseline) =>
            {
                latency
            }
            RequestOutcome::Disconnected(_) => return false,
        };
        self.window.samples += 1;
        self.window.latency_sum += latency.as_secs_f64();
        self.window.in_flight_sum += u64::from(in_flight);
        let Some(measurement) = self.window.measurement(now, self.config.window) else {
            return false;
        };
        self.window = Window::new(now);
        if !std::mem::take(&mut self.cooling_down) {
            self.adjust(now, measurement);
        }
        true
    }

    /// Adjusts the baseline and the limit after a window.
    fn adjust(&mut self, now: Instant, measured: Measurement) {
        let few = measured.in_flight <= f64::from(self.config.min.get());
        let experimenting = self.experiment.is_some();
        let baseline = self.update_baseline(now, measured, few);
        let unloaded = !experimenting && measured.latency <= UNLOADED_LATENCY * baseline;
        let unloaded_twice = std::mem::replace(&mut self.unloaded, unloaded) && unloaded;
        self.baseline = Some(baseline);
        if measured.drop_ratio >= DROP_RATIO_THRESHOLD {
            self.restore_limit();
            if !few {
                self.decrease(measured.in_flight, DROP_BACKOFF);
            }
        } else if self.experiment.is_some_and(|one| one.deliberate) {
            // The low limit of the experiment causes rejections. They must not be taken for overload.
        } else if measured.latency > self.config.latency_tolerance * baseline {
            // Waits for a second slow window: one may be an outlier, and the latency lags behind a growing queue.
            if !few && self.is_confirmed(measured) {
                let factor = self.config.latency_tolerance * baseline / measured.latency;
                self.decrease(measured.in_flight, factor.max(MIN_DECREASE));
            }
        } else {
            self.experiment = None;
            let due = now.duration_since(self.verified) >= EXPERIMENT_INTERVAL;
            if measured.rejected && !few && due {
                self.experiment = Some(self.start_experiment(measured, true));
                self.decrease(measured.in_flight, EXPERIMENT_FRACTION);
            } else if measured.rejected || measured.in_flight > self.limit / 2.0 {
                let growth = if unloaded_twice {
                    UNLOADED_GROWTH * self.limit
                } else {
                    0.0
                };
                self.set_limit(self.limit + self.limit.sqrt().max(growth));
            }
        }
    }

    /// Returns the baseline after this measurement. Ends an experiment that has its result.
    fn update_baseline(&mut self, now: Instant, measured: Measurement, few: bool) -> f64 {
        let baseline = self.baseline.unwrap_or(measured.latency);
        let has_result = |experiment: &Experiment| {
            few || measured.in_flight <= EXPERIMENT_END_USAGE * experiment.in_flight
        };
        if !self.experiment.as_ref().is_some_and(has_result) {
            if few {
                self.verified = now;
            }
            let change = if few || measured.latency < baseline {
                BASELINE_WEIGHT * (measured.latency - baseline)
            } else {
                0.0
            };
            return baseline + change;
        }
        let caused_by_load = self
            .experiment
            .is_some_and(|one| measured.latency <= EXPERIMENT_END_LATENCY * one.latency);
        self.verified = now;
        if caused_by_load {
            if self.experiment.is_some_and(|one| one.deliberate) {
                self.restore_limit();
            }
            self.experiment = None;
            return baseline.min(measured.latency);
        }
        self.restore_limit();
        measured.latency
    }

    /// Whether an earlier window was too slow as well. If not, an experiment starts.
    fn is_confirmed(&mut self, measured: Measurement) -> bool {
        if let Some(experiment) = &mut self.experiment {
            experiment.in_flight = experiment.in_flight.max(measured.in_flight);
            experiment.latency = experiment.latency.max(measured.latency);
            return true;
        }
        self.experiment = Some(self.start_experiment(measured, false));
        false
    }

    fn start_experiment(&self, measured: Measurement, deliberate: bool) -> Experiment {
        Experiment {
            limit: self.limit,
            in_flight: measured.in_flight,
            latency: measured.latency,
            deliberate,
        }
    }

    /// Ends the current experiment, if any, and restores the limit that it started with.
    fn restore_limit(&mut self) {
        if let Some(experiment) = self.experiment.take() {
            self.limit = self.limit.max(experiment.limit);
        }
    }

    fn decrease(&mut self, in_flight: f64, factor: f64) {
        self.set_limit(self.limit.min(in_flight * MAX_LIMIT_TO_USAGE) * factor);
        self.cooling_down = true;
    }

    fn set_limit(&mut self, limit: f64) {
        let (min, max) = (self.config.min.get(), self.config.max.get());
        self.limit = limit.clamp(f64::from(min), f64::from(max));
    }
}
