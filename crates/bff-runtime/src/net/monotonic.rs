//! Instants as integers, so that atomics can store them.

use std::time::Duration;

use tokio::time::Instant;

/// Converts instants to nanoseconds since the clock's start. Instants before the start count as zero.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Creates a clock that starts at `now`.
    pub fn new(now: Instant) -> Self {
        Self(now)
    }

    /// Nanoseconds since the start. The number overflows after 584 years.
    pub fn nanos(self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.0))
    }
}

/// A duration in nanoseconds, saturating.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
