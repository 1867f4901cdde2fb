//! Requests whose response was uncacheable a moment ago (Varnish: hit-for-miss). For those, no replica looks in the
//! shared tier or waits for the call of another.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::key::Key;

/// The lifetime of a mark.
pub(super) const TTL: Duration = Duration::from_secs(10);
/// The number of marks. Two requests that share a slot replace each other.
const SLOTS: usize = 1 << 12;
/// The bits of a slot that hold the hash. The others hold the expiry.
const HASH_MASK: u64 = 0xffff_ffff_0000_0000;

/// A slot holds the upper half of a key's hash, and the second since `start` at which the mark expires.
pub(super) struct HitForMiss {
    start: Instant,
    slots: Box<[AtomicU64]>,
}

impl HitForMiss {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whether the response to this request was uncacheable within the TTL.
    pub(super) fn contains(&self, key: &Key) -> bool {
        let slot = self.slot(key).load(Relaxed);
        slot & HASH_MASK == key.hash() & HASH_MASK && self.seconds() < slot & !HASH_MASK
    }

    /// Marks the response to this request as uncacheable.
    pub(super) fn add(&self, key: &Key) {
        let expiry = self.seconds() + TTL.as_secs();
        let slot = key.hash() & HASH_MASK | expiry & !HASH_MASK;
        self.slot(key).store(slot, Relaxed);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "only the lowest bits are used"
    )]
    fn slot(&self, key: &Key) -> &AtomicU64 {
        &self.slots[key.hash() as usize & (SLOTS - 1)]
    }

    fn seconds(&self) -> u64 {
        (Instant::now() - self.start).as_secs()
    }
}
