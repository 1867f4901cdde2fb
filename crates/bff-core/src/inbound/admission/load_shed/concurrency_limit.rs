//! The limit of concurrent requests: AIMD per window (Chiu and Jain 1989), on what clients notice.
//!
//! The limit starts at [`Config::max`]. A window is overloaded if many of its requests were dropped (too late, or without
//! capacity at a backend), or if most of them were slow. A request is slow above a threshold that is a fraction of the
//! deadline. So a saturated CPU or a pause of some milliseconds is no overload, however short the usual latency is.
//!
//! A backend may need that long without any load. So the threshold is at least [`Config::latency_tolerance`] times the
//! lowest mean latency of a window. The first window counts too, because a cold start is no overload. The threshold
//! rises only while at most [`Config::min`] requests are in flight.
//!
//! After decreases the throughput shows whether load was the cause. Under overload it stays the same, because the
//! backends are still busy. If it fell with the number in flight, the backend itself became slower (Little's law). The
//! limit and the threshold then rise again. While requests are rejected, the threshold decays. So a gateway that started
//! during an overload tests its threshold in the same way.

use std::time::Duration;

use tokio::time::Instant;

use window::{Measurement, Window};

pub use config::Config;

mod config;
#[cfg(test)]
mod tests;
mod window;

/// The ratio of dropped requests from which a window is overloaded.
const DROP_RATIO_THRESHOLD: f64 = 0.1;
/// The ratio of slow requests from which a window is overloaded. A minority is slow without any load on the others.
const SLOW_RATIO_THRESHOLD: f64 = 0.5;
/// The factor of a decrease: anonymous reads then stop, while signed-in ones continue (`class_limits`).
const DECREASE: f64 = 0.9;
/// A decrease also lowers the limit to this multiple of the number in flight. So the first one rejects only the classes
/// whose fraction of the limit is already in use.
const MAX_LIMIT_TO_USAGE: f64 = 1.1;
/// The factor of an increase: from 20 to 1000 in five seconds at a short latency.
const INCREASE: f64 = 1.1;
/// The factor by which each window with rejections lowers the threshold: to a half in 14 windows.
const THRESHOLD_DECAY: f64 = 0.95;
/// The throughput is compared when the number in flight is at most this fraction of its value before the decreases.
const COMPARED_USAGE: f64 = 0.5;
/// Load was not the cause if the throughput is then at most this fraction of its value before. The two possible causes
/// predict 0.5 and 1.
const COMPARED_THROUGHPUT: f64 = 0.7;

/// The outcome of one request, as a signal of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It completed after this time.
    Completed(Duration),
    /// It ended after this time because it was too late, or a backend had no capacity.
    Dropped(Duration),
    /// The client ended it after this time: it disconnected, or its own deadline passed. It counts if it was slow,
    /// because the slowest requests would be missing otherwise. A shorter time is ignored.
    Disconnected(Duration),
}

/// The limit of concurrent requests of one gateway.
#[derive(Clone, Debug)]
pub struct AdaptiveConcurrencyLimit {
    config: Config,
    limit: f64,
    /// The latency in seconds above which a request is slow. Infinite until the first window ends.
    threshold: f64,
    /// The smallest threshold.
    min_threshold: f64,
    window: Window,
    /// The limit and the overloaded window before the first of the last decreases in a row.
    before: Option<(f64, Measurement)>,
    /// Whether the limit just decreased. Requests admitted before still end in this window, so it is not used.
    cooling_down: bool,
}

impl AdaptiveConcurrencyLimit {
    /// Starts with the largest limit and no measurement. `deadline` is the gateway's deadline of a request.
    pub fn new(config: &Config, deadline: Duration, now: Instant) -> Self {
        Self {
            limit: f64::from(config.max.get()),
            config: config.clone(),
            threshold: f64::INFINITY,
            min_threshold: config.latency_threshold(deadline).as_secs_f64(),
            window: Window::new(now),
            before: None,
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

    /// Records a rejected request: the limit is in use, whatever the number in flight is.
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
        let (RequestOutcome::Completed(latency)
        | RequestOutcome::Dropped(latency)
        | RequestOutcome::Disconnected(latency)) = outcome;
        let latency = latency.as_secs_f64();
        let slow = latency > self.threshold;
        if matches!(outcome, RequestOutcome::Disconnected(_)) && !slow {
            return false;
        }
        let dropped = matches!(outcome, RequestOutcome::Dropped(_));
        self.window.add(latency, dropped, slow, in_flight);
        let Some(measurement) = self.window.measurement(now, self.config.window) else {
            return false;
        };
        self.window = Window::new(now);
        if !std::mem::take(&mut self.cooling_down) {
            self.adjust(measurement);
        }
        true
    }

    /// Adjusts the limit and the threshold after a window.
    fn adjust(&mut self, measured: Measurement) {
        let few = measured.in_flight <= f64::from(self.config.min.get());
        let tolerated = (self.config.latency_tolerance * measured.latency).max(self.min_threshold);
        if few {
            self.threshold = tolerated;
        } else {
            if measured.rejected {
                self.threshold = (self.threshold * THRESHOLD_DECAY).max(self.min_threshold);
            }
            self.threshold = self.threshold.min(tolerated);
        }
        let dropped = measured.drop_ratio >= DROP_RATIO_THRESHOLD;
        if few || !(dropped || measured.slow_ratio >= SLOW_RATIO_THRESHOLD) {
            self.before = None;
            if measured.rejected || measured.in_flight > self.limit / 2.0 {
                self.set_limit(self.limit * INCREASE);
            }
            return;
        }
        let (limit, before) = *self.before.get_or_insert((self.limit, measured));
        let compared = measured.in_flight <= COMPARED_USAGE * before.in_flight;
        let fell = measured.throughput <= COMPARED_THROUGHPUT * before.throughput;
        if compared && fell && !dropped {
            self.before = None;
            self.threshold = tolerated;
            self.set_limit(limit);
        } else {
            self.set_limit((self.limit * DECREASE).min(measured.in_flight * MAX_LIMIT_TO_USAGE));
            self.cooling_down = true;
        }
    }

    fn set_limit(&mut self, limit: f64) {
        let (min, max) = (self.config.min.get(), self.config.max.get());
        self.limit = limit.clamp(f64::from(min), f64::from(max));
    }
}
