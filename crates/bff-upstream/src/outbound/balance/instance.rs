//! An instance of a backend, and the guard of an attempt in flight at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use http::uri::Authority;
use tokio::time::Instant;

use super::Instances;
use super::peak_ewma::{PeakEwma, Sample};
use crate::outbound::outcome::AttemptOutcome;
use crate::outbound::outlier_detection::InstanceStats;

/// An instance, as long as service discovery lists it. `T` is its client.
#[derive(Debug)]
pub struct Instance<T> {
    address: Authority,
    payload: T,
    in_flight: AtomicU32,
    pub(super) latency: PeakEwma,
    pub(super) stats: InstanceStats,
}

impl<T> Instance<T> {
    pub(super) fn new(address: Authority, payload: T) -> Self {
        Self {
            address,
            payload,
            in_flight: AtomicU32::new(0),
            latency: PeakEwma::default(),
            stats: InstanceStats::default(),
        }
    }

    /// Host and port.
    pub fn address(&self) -> &Authority {
        &self.address
    }

    /// The client of the instance.
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// Counts an exchange that continues after its attempt, such as a streaming body.
    pub(in crate::outbound) fn acquire(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Ends an exchange that [`Self::acquire`] counted.
    pub(in crate::outbound) fn release(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// The number of attempts and exchanges in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }
}

/// The instance picked for one attempt. The attempt counts as in flight until the guard is dropped.
#[derive(Debug)]
#[must_use = "dropping the guard ends the attempt without an outcome"]
pub struct InstanceGuard<'a, T> {
    instances: &'a Instances<T>,
    instance: Arc<Instance<T>>,
    started: Instant,
    measure_latency: bool,
}

impl<'a, T> InstanceGuard<'a, T> {
    pub(super) fn new(
        instances: &'a Instances<T>,
        instance: Arc<Instance<T>>,
        started: Instant,
    ) -> Self {
        instance.in_flight.fetch_add(1, Relaxed);
        Self {
            instances,
            instance,
            started,
            measure_latency: true,
        }
    }

    /// Excludes the attempt's duration from the instance's latency, because the client influences it.
    pub(in crate::outbound) fn ignore_latency(mut self) -> Self {
        self.measure_latency = false;
        self
    }

    /// The instance. A retry passes it to `pick` as the one to avoid.
    pub fn instance(&self) -> &Arc<Instance<T>> {
        &self.instance
    }

    /// Reports the outcome of the attempt.
    pub fn done(self, now: Instant, outcome: AttemptOutcome) {
        let (instances, instance) = (self.instances, &self.instance);
        let sample = match outcome {
            AttemptOutcome::Success => Sample::Response,
            AttemptOutcome::Failure => Sample::Failure,
            AttemptOutcome::Ignored | AttemptOutcome::DeadlineExceeded => Sample::Unfinished,
        };
        let duration = now.saturating_duration_since(self.started);
        let now_nanos = instances.clock.nanos(now);
        if self.measure_latency || sample == Sample::Failure {
            (instance.latency).record(now_nanos, duration, sample, instances.decay);
        }
        let detector = &instances.outlier_detector;
        if detector.record(now, &instance.stats, outcome) {
            let set = instances.set.load();
            let all: Vec<_> = set.members().iter().map(|m| &m.instance.stats).collect();
            detector.evaluate(now, &all);
        }
    }
}

impl<T> Drop for InstanceGuard<'_, T> {
    fn drop(&mut self) {
        self.instance.in_flight.fetch_sub(1, Relaxed);
    }
}
