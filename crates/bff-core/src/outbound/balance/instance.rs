//! One instance of a backend, and one attempt under way at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use http::uri::Authority;
use tokio::time::Instant;

use super::Instances;
use super::peak_ewma::{PeakEwma, Sample};
use crate::outbound::outcome::AttemptOutcome;
use crate::outbound::outlier_detection::InstanceStats;

/// One instance, for as long as discovery names it.
#[derive(Debug)]
pub struct Instance<T> {
    address: Authority,
    payload: T,
    in_flight: AtomicU32,
    pub(super) latency: PeakEwma,
    pub(super) health: InstanceStats,
}

impl<T> Instance<T> {
    pub(super) fn new(address: Authority, payload: T) -> Self {
        Self {
            address,
            payload,
            in_flight: AtomicU32::new(0),
            latency: PeakEwma::default(),
            health: InstanceStats::default(),
        }
    }

    /// Host and port.
    pub fn address(&self) -> &Authority {
        &self.address
    }

    /// What the integrator keeps for it.
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// Counts work that goes on after its attempt, such as a body that streams.
    pub(in crate::outbound) fn acquire(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Ends what [`Self::stay`] began.
    pub(in crate::outbound) fn release(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }
}

/// An instance chosen for one attempt, which is under way until this is dropped.
#[derive(Debug)]
#[must_use = "dropped, the attempt is over and nothing is learnt from it"]
pub struct InstanceGuard<'a, T> {
    from: &'a Instances<T>,
    instance: Arc<Instance<T>>,
    began: Instant,
    timed: bool,
}

impl<'a, T> InstanceGuard<'a, T> {
    pub(super) fn new(from: &'a Instances<T>, instance: Arc<Instance<T>>, began: Instant) -> Self {
        instance.in_flight.fetch_add(1, Relaxed);
        Self {
            from,
            instance,
            began,
            timed: true,
        }
    }

    /// Says that how long the attempt takes is not the instance's doing.
    pub(in crate::outbound) fn ignore_latency(mut self) -> Self {
        self.timed = false;
        self
    }

    /// The instance; kept by a retry that must avoid it.
    pub fn instance(&self) -> &Arc<Instance<T>> {
        &self.instance
    }

    /// Reports how the attempt ended.
    pub fn done(self, now: Instant, outcome: AttemptOutcome) {
        let (from, instance) = (self.from, &self.instance);
        let sample = match outcome {
            AttemptOutcome::Success => Sample::Answer,
            AttemptOutcome::Failure => Sample::Failure,
            AttemptOutcome::Ignored | AttemptOutcome::DeadlineExceeded => Sample::Unfinished,
        };
        let time = now.saturating_duration_since(self.began);
        let at = from.clock.nanos(now);
        if self.timed || sample == Sample::Failure {
            instance.latency.observe(at, time, sample, from.decay);
        }
        if from.ejector.record(now, &instance.health, outcome) {
            let set = from.set.load();
            let all: Vec<_> = set.members().iter().map(|m| &m.instance.health).collect();
            from.ejector.evaluate(now, &all);
        }
    }
}

impl<T> Drop for InstanceGuard<'_, T> {
    fn drop(&mut self) {
        self.instance.in_flight.fetch_sub(1, Relaxed);
    }
}
