//! An instance of a backend.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use http::uri::Authority;

use super::peak_ewma::PeakEwma;
use crate::policies::outlier_detection::InstanceStats;

/// An instance, as long as service discovery lists it. `T` is its client.
#[derive(Debug)]
pub struct Instance<T> {
    address: Authority,
    payload: T,
    pub(super) in_flight: AtomicU32,
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
    pub(crate) fn acquire(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Ends an exchange that [`Self::acquire`] counted.
    pub(crate) fn release(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// The number of attempts and exchanges in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }
}
