//! When each tag was purged: a copy that was asked for before its tag's stamp is dead.
//!
//! A purge moves one number and looks for nothing, so that it costs the same for one copy and for a million, and so
//! that replicas need only tell each other (tag, instant). The table has a fixed number of slots: two tags that share
//! one are purged together.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::hash::Tag;

/// The purges so far.
pub(super) struct PurgeTimestamps(Box<[AtomicU64]>);

impl PurgeTimestamps {
    /// Nothing was purged. `slots` is a power of two.
    pub(super) fn new(slots: usize) -> Self {
        let slots = slots.next_power_of_two();
        Self((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    /// Everything under `tag` that was asked for at `at` or before, in milliseconds since 1970, is dead. Stamps may
    /// arrive in any order: the latest counts.
    pub(super) fn stamp(&self, tag: Tag, at: u64) {
        self.stamp_slot(self.slot(tag), at);
    }

    /// The same for all tags that share a slot; a slot that is none of this table's changes nothing.
    pub(super) fn stamp_slot(&self, slot: usize, at: u64) {
        if let Some(stamp) = self.0.get(slot) {
            stamp.fetch_max(at, Relaxed);
        }
    }

    /// The same for everything.
    pub(super) fn stamp_all(&self, at: u64) {
        for stamp in &self.0 {
            stamp.fetch_max(at, Relaxed);
        }
    }

    /// Whether what was asked for at `asked` has outlived every one of these purges.
    pub(super) fn is_newer(&self, tags: &[Tag], asked: u64) -> bool {
        tags.iter().all(|tag| self.at(self.slot(*tag)) < asked)
    }

    /// The latest stamp of a slot.
    pub(super) fn at(&self, slot: usize) -> u64 {
        self.0.get(slot).map_or(0, |stamp| stamp.load(Relaxed))
    }

    /// Which slot a tag has. Replicas with tables of one size agree on it.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only the lowest bits are used"
    )]
    pub(super) fn slot(&self, tag: Tag) -> usize {
        tag.0 as usize & (self.0.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_before_a_purge_is_dead_and_what_came_after_lives() {
        let stamps = PurgeTimestamps::new(1 << 10);
        let tags = [Tag::named("a"), Tag::named("b")];
        assert!(stamps.is_newer(&tags, 1));
        stamps.stamp(tags[1], 100);
        // As it comes from a replica that was slow to tell.
        stamps.stamp(tags[1], 90);
        assert!(!stamps.is_newer(&tags, 99) && !stamps.is_newer(&tags, 100));
        assert!(stamps.is_newer(&tags, 101) && stamps.is_newer(&tags[..1], 1));
    }
}
