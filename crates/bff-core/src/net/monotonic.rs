//! An instant as a number that an atomic can hold.

use std::time::Duration;

use tokio::time::Instant;

/// Counts nanoseconds from its own beginning; instants before it count as the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that begins at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self(now)
    }

    /// Nanoseconds since the beginning; 584 years fit.
    pub(crate) fn nanos(self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.0))
    }
}

/// A duration in nanoseconds, the longest for what does not fit.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
