//! Which requests' answers could not be kept a moment ago: nobody looks for them elsewhere, or waits for somebody
//! else's call.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::key::Key;
use crate::net;

/// How long it is remembered.
pub(super) const TTL: Duration = Duration::from_secs(10);
/// How many are.
const SLOTS: usize = 1 << 12;
/// What of a slot is of the hash; the rest is a time.
const HASH: u64 = 0xffff_ffff_0000_0000;

/// By hash: the upper half of it, and until which second since `opened` it holds.
pub(super) struct HitForMiss {
    opened: Instant,
    slots: Box<[AtomicU64]>,
}

impl HitForMiss {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whether the answer to it could not be kept.
    pub(super) fn has(&self, key: &Key) -> bool {
        let slot = self.slot(key).load(Relaxed);
        slot & HASH == key.hash() & HASH && self.seconds() < slot & !HASH
    }

    /// The answer to it cannot be kept.
    pub(super) fn add(&self, key: &Key) {
        let until = self.seconds() + TTL.as_secs();
        let slot = key.hash() & HASH | until & !HASH;
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
        (net::now() - self.opened).as_secs()
    }
}
