//! One window of measurement: latency, requests in flight, dropped requests.

use std::time::Duration;

use tokio::time::Instant;

/// A window with fewer samples continues.
const MIN_SAMPLES: u32 = 10;

/// The current window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) started: Instant,
    pub(super) samples: u32,
    pub(super) dropped: u32,
    /// The sum of all latencies, in seconds.
    pub(super) latency_sum: f64,
    /// The sum of the requests in flight, sampled at the end of each request.
    pub(super) in_flight_sum: u64,
    /// Whether a request was rejected.
    pub(super) rejected: bool,
}

/// The result of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    /// The mean latency, in seconds.
    pub(super) latency: f64,
    /// The mean number of requests in flight.
    pub(super) in_flight: f64,
    /// The fraction of dropped requests.
    pub(super) drop_ratio: f64,
    /// Whether a request was rejected.
    pub(super) rejected: bool,
}

impl Window {
    /// Starts an empty window.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            samples: 0,
            dropped: 0,
            latency_sum: 0.0,
            in_flight_sum: 0,
            rejected: false,
        }
    }

    /// Returns the result if the window has enough samples and lasted at least `min_duration` and the mean latency.
    pub(super) fn measurement(&self, now: Instant, min_duration: Duration) -> Option<Measurement> {
        let elapsed = now.saturating_duration_since(self.started).as_secs_f64();
        let latency = self.latency_sum / f64::from(self.samples.max(1));
        let enough = self.samples >= MIN_SAMPLES && elapsed > 0.0;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a window's sum is far below 2^52"
        )]
        let in_flight_sum = self.in_flight_sum as f64;
        (enough && elapsed >= min_duration.as_secs_f64().max(latency)).then(|| Measurement {
            latency,
            in_flight: in_flight_sum / f64::from(self.samples),
            drop_ratio: f64::from(self.dropped) / f64::from(self.samples),
            rejected: self.rejected,
        })
    }
}
