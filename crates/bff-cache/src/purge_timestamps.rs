//! The time at which each tag was purged. An entry is invalid if it was requested before one of its tags was purged.
//!
//! A purge changes one number and searches nothing, so its cost does not depend on the number of entries. Replicas only
//! exchange (tag, time). The table has a fixed number of slots; two tags that share a slot are purged together.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::hash::Tag;

/// The slots of the table of purged tags.
pub(super) const PURGE_SLOTS: usize = 1 << 16;
/// The slots of the table of callers that wrote.
pub(super) const CALLER_WRITE_SLOTS: usize = 1 << 14;

/// The time of the latest purge of each slot, in milliseconds since 1970 or as a version; 0 if there was none.
pub(super) struct PurgeTimestamps {
    slots: usize,
    /// Set by the first purge, so that a start does not write to all this memory.
    latest: OnceLock<Box<[AtomicU64]>>,
}

impl PurgeTimestamps {
    /// A table without purges. `slots` is a power of two.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: slots.next_power_of_two(),
            latest: OnceLock::new(),
        }
    }

    /// Records a purge of `tag`: everything requested at `at` or before is invalid. Calls may come in any order; the
    /// latest time counts.
    pub(super) fn record(&self, tag: Tag, at: u64) {
        self.record_slot(self.slot(tag), at);
    }

    /// Records a purge of all tags of a slot. An unknown slot is ignored.
    pub(super) fn record_slot(&self, slot: usize, at: u64) {
        if let Some(latest) = self.latest_of_each().get(slot) {
            latest.fetch_max(at, Relaxed);
        }
    }

    /// Records a purge of everything.
    pub(super) fn record_all(&self, at: u64) {
        for latest in self.latest_of_each() {
            latest.fetch_max(at, Relaxed);
        }
    }

    /// Whether a response requested at `requested_at` is newer than the purges of all these tags.
    pub(super) fn is_newer(&self, tags: &[Tag], requested_at: u64) -> bool {
        tags.iter()
            .all(|tag| self.latest(self.slot(*tag)) < requested_at)
    }

    /// The time of the latest purge of a slot.
    pub(super) fn latest(&self, slot: usize) -> u64 {
        let latest = self.latest.get().and_then(|latest| latest.get(slot));
        latest.map_or(0, |latest| latest.load(Relaxed))
    }

    /// The slot of a tag. It is the same in all tables of one size.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only the lowest bits are used"
    )]
    pub(super) fn slot(&self, tag: Tag) -> usize {
        tag.0 as usize & (self.slots - 1)
    }

    fn latest_of_each(&self) -> &[AtomicU64] {
        let no_purges = || (0..self.slots).map(|_| AtomicU64::new(0)).collect();
        self.latest.get_or_init(no_purges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_invalidates_only_earlier_requests() {
        let timestamps = PurgeTimestamps::new(1 << 10);
        let tags = [Tag::named("a"), Tag::named("b")];
        assert!(timestamps.is_newer(&tags, 1));
        timestamps.record(tags[1], 100);
        // An earlier purge that another replica reported late.
        timestamps.record(tags[1], 90);
        assert!(!timestamps.is_newer(&tags, 99) && !timestamps.is_newer(&tags, 100));
        assert!(timestamps.is_newer(&tags, 101) && timestamps.is_newer(&tags[..1], 1));
    }
}
