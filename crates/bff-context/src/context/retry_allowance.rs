//! The retry allowance of one request: a limit over all calls that it makes.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The extra attempts of one request, shared by all its calls to all backends.
#[derive(Debug)]
pub struct RequestRetryAllowance(AtomicU32);

impl RequestRetryAllowance {
    /// The default allowance: enough for a few transient failures, too few to double the ten calls of a screen.
    pub const DEFAULT: u32 = 3;

    /// Creates an allowance of `max` extra attempts.
    pub const fn new(max: u32) -> Self {
        Self(AtomicU32::new(max))
    }

    /// The number of remaining extra attempts.
    pub fn remaining(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Moves the remaining extra attempts to a new allowance, for work that continues after the request.
    #[must_use]
    pub fn take_all(&self) -> Self {
        Self(self.0.swap(0, Relaxed).into())
    }

    /// Takes one extra attempt. Returns false if none remains.
    pub fn take(&self) -> bool {
        self.0
            .fetch_update(Relaxed, Relaxed, |remaining| remaining.checked_sub(1))
            .is_ok()
    }

    /// Returns an extra attempt that was taken but not made.
    pub fn give_back(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Default for RequestRetryAllowance {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}
