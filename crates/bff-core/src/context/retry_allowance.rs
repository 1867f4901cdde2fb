//! The retry allowance of one request: a bound over all calls that it makes.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The extra attempts of one request, shared by all the calls it makes to whichever backend.
#[derive(Debug)]
pub struct RequestRetryAllowance(AtomicU32);

impl RequestRetryAllowance {
    /// How many there are unless told otherwise: enough for a few mishaps, too few to double a screen of ten
    /// calls.
    pub const DEFAULT: u32 = 3;

    /// At most so many.
    pub const fn new(most: u32) -> Self {
        Self(AtomicU32::new(most))
    }

    /// How many are left.
    pub fn left(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// What is left, for the work that goes on in the request's place; nothing is left here.
    pub fn take_all(&self) -> Self {
        Self(self.0.swap(0, Relaxed).into())
    }

    /// Takes one extra attempt, if one is left.
    pub fn take(&self) -> bool {
        self.0
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    /// Returns one extra attempt that was taken and not made.
    pub fn give_back(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Default for RequestRetryAllowance {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}
