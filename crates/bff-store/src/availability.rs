//! Tracks whether Redis is available. It logs one line when Redis fails, and one when it recovers. In between, only a
//! few calls reach Redis. Each slot range of a cluster is tracked separately.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The availability of Redis.
#[derive(Debug)]
pub(super) struct Availability {
    start: Instant,
    retry_interval: Duration,
    slot_ranges: Box<[SlotRange]>,
    /// The number of unavailable slot ranges.
    unavailable: AtomicUsize,
}

#[derive(Debug, Default)]
struct SlotRange {
    unavailable: AtomicBool,
    /// While unavailable: when to try again, in milliseconds since `start`.
    retry_at: AtomicU64,
}

impl Availability {
    pub(super) fn new(retry_interval: Duration, slot_ranges: usize) -> Self {
        Self {
            start: Instant::now(),
            retry_interval,
            slot_ranges: (0..slot_ranges).map(|_| SlotRange::default()).collect(),
            unavailable: AtomicUsize::new(0),
        }
    }

    /// The number of slot ranges.
    pub(super) fn slot_ranges(&self) -> usize {
        self.slot_ranges.len()
    }

    /// Whether any slot range is unavailable.
    pub(super) fn is_unavailable(&self) -> bool {
        self.unavailable.load(Ordering::Relaxed) > 0
    }

    /// Whether to call a slot range now. While it is unavailable, one call in each retry interval tries.
    pub(super) fn should_try(&self, slot_range: usize) -> bool {
        let slot_range = &self.slot_ranges[slot_range];
        if !slot_range.unavailable.load(Ordering::Relaxed) {
            return true;
        }
        let now = self.millis();
        let retry_at = slot_range.retry_at.load(Ordering::Relaxed);
        let next = now + self.retry_interval_millis();
        now >= retry_at
            && (slot_range.retry_at)
                .compare_exchange(retry_at, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    pub(super) fn record_success(&self, slot_range: usize) {
        let unavailable = &self.slot_ranges[slot_range].unavailable;
        let recovered =
            unavailable.load(Ordering::Relaxed) && unavailable.swap(false, Ordering::Relaxed);
        if recovered && self.unavailable.fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::info!("redis recovered");
        }
    }

    pub(super) fn record_failure(&self, slot_range: usize, cause: &str) {
        let slot_range = &self.slot_ranges[slot_range];
        let next = self.millis() + self.retry_interval_millis();
        slot_range.retry_at.store(next, Ordering::Relaxed);
        let is_first = !slot_range.unavailable.swap(true, Ordering::Relaxed);
        if is_first && self.unavailable.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(cause, "redis unavailable");
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn retry_interval_millis(&self) -> u64 {
        u64::try_from(self.retry_interval.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::CapturedLogs;

    #[tokio::test(start_paused = true)]
    async fn an_unavailable_redis_is_tried_once_per_retry_interval() {
        let availability = Availability::new(Duration::from_millis(250), 1);
        assert!(availability.should_try(0) && availability.should_try(0));
        availability.record_failure(0, "silence");
        assert!(availability.is_unavailable() && !availability.should_try(0));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert!(availability.should_try(0) && !availability.should_try(0));
        availability.record_success(0);
        assert!(
            availability.should_try(0)
                && availability.should_try(0)
                && !availability.is_unavailable()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn slot_ranges_fail_separately_and_each_change_is_logged_once() {
        let logs = CapturedLogs::default();
        let _guard = logs.capture();
        let availability = Availability::new(Duration::from_millis(250), 3);
        for _ in 0..2 {
            availability.record_failure(1, "silence");
            availability.record_failure(2, "silence");
            availability.record_success(0);
        }
        assert!(
            availability.should_try(0)
                && !availability.should_try(1)
                && !availability.should_try(2)
        );
        availability.record_success(1);
        assert!(availability.should_try(1) && availability.is_unavailable());
        availability.record_success(2);
        assert!(!availability.is_unavailable());
        assert_eq!(logs.count("redis unavailable"), 1);
        assert_eq!(logs.count("redis recovered"), 1);
    }
}
