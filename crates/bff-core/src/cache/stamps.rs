//! When each tag was purged: a copy that was asked for before its tag's stamp is dead.
//!
//! A purge moves one number and looks for nothing, so that it costs the same for one copy and for a million, and so
//! that replicas need only tell each other (tag, instant). The table has a fixed number of slots: two tags that share
//! one are purged together.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::hash::Tag;

/// The purges so far.
pub(super) struct Stamps(Box<[AtomicU64]>);

impl Stamps {
    /// Nothing was purged. `slots` is a power of two.
    pub(super) fn new(slots: usize) -> Self {
        let slots = slots.next_power_of_two();
        Self((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    /// Everything under `tag` that was asked for at `at` or before, in milliseconds since 1970, is dead. Stamps may
    /// arrive in any order: the latest counts.
    pub(super) fn stamp(&self, tag: Tag, at: u64) {
        self.slot(tag).fetch_max(at, Relaxed);
    }

    /// Whether what was asked for at `asked` has outlived every one of these purges.
    pub(super) fn allow(&self, tags: &[Tag], asked: u64) -> bool {
        tags.iter().all(|tag| self.slot(*tag).load(Relaxed) < asked)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "only the lowest bits are used"
    )]
    fn slot(&self, tag: Tag) -> &AtomicU64 {
        &self.0[tag.0 as usize & (self.0.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_before_a_purge_is_dead_and_what_came_after_lives() {
        let stamps = Stamps::new(1 << 10);
        let tags = [Tag::word("a"), Tag::word("b")];
        assert!(stamps.allow(&tags, 1));
        stamps.stamp(tags[1], 100);
        // As it comes from a replica that was slow to tell.
        stamps.stamp(tags[1], 90);
        assert!(!stamps.allow(&tags, 99) && !stamps.allow(&tags, 100));
        assert!(stamps.allow(&tags, 101) && stamps.allow(&tags[..1], 1));
    }
}
