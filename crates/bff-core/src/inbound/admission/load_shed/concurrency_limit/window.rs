//! One window of measurement: latency, throughput, requests in flight, dropped requests.

use std::time::Duration;

use tokio::time::Instant;

/// A window with fewer samples continues.
const MIN_SAMPLES: u32 = 10;

/// The current window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    started: Instant,
    samples: u32,
    dropped: u32,
    slow: u32,
    /// The sum of all latencies, in seconds.
    latency_sum: f64,
    /// The most requests in flight at the end of a request.
    in_flight: u32,
    /// Whether a request was rejected.
    pub(super) rejected: bool,
}

/// The result of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    /// The mean latency, in seconds.
    pub(super) latency: f64,
    /// The most requests in flight.
    pub(super) in_flight: f64,
    /// The requests per second that ended.
    pub(super) throughput: f64,
    /// The fraction of dropped requests.
    pub(super) drop_ratio: f64,
    /// The fraction of slow requests.
    pub(super) slow_ratio: f64,
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
            slow: 0,
            latency_sum: 0.0,
            in_flight: 0,
            rejected: false,
        }
    }

    /// Adds the end of one request. The latency is in seconds.
    pub(super) fn add(&mut self, latency: f64, dropped: bool, slow: bool, in_flight: u32) {
        self.samples += 1;
        self.dropped += u32::from(dropped);
        self.slow += u32::from(slow);
        self.latency_sum += latency;
        self.in_flight = self.in_flight.max(in_flight);
    }

    /// Returns the result if the window has enough samples and lasted at least `min_duration` and half of the mean
    /// latency.
    pub(super) fn measurement(&self, now: Instant, min_duration: Duration) -> Option<Measurement> {
        let elapsed = now.saturating_duration_since(self.started).as_secs_f64();
        let samples = f64::from(self.samples.max(1));
        let latency = self.latency_sum / samples;
        let enough = self.samples >= MIN_SAMPLES && elapsed > 0.0;
        (enough && elapsed >= min_duration.as_secs_f64().max(latency / 2.0)).then(|| Measurement {
            latency,
            in_flight: f64::from(self.in_flight),
            throughput: samples / elapsed,
            drop_ratio: f64::from(self.dropped) / samples,
            slow_ratio: f64::from(self.slow) / samples,
            rejected: self.rejected,
        })
    }
}
