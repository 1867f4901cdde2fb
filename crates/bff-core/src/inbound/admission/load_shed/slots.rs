//! Requests in flight, counted: a slot is taken or it is not, at once, and comes back when its guard is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The slots of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    taken: AtomicU32,
}

impl Slots {
    /// Takes one if fewer than `allowed` are taken. Deciding and taking is one step: however many try at once, no more
    /// than that many get one.
    pub(crate) fn take(self: &Arc<Self>, allowed: u32) -> Option<Slot> {
        let room = |taken| (taken < allowed).then(|| taken + 1);
        let taken = self.taken.fetch_update(Relaxed, Relaxed, room);
        taken.ok().map(|_| Slot(self.clone()))
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> u32 {
        self.taken.load(Relaxed)
    }
}

/// A slot taken; free again when dropped.
#[derive(Debug)]
#[must_use = "dropped, the slot is free again"]
pub(crate) struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn threads_never_hold_more_than_are_allowed_and_all_come_back() {
        let slots = Arc::new(Slots::default());
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|threads| {
            for n in 0..8 {
                let (slots, inside, most) = (&slots, &inside, &most);
                // Some may use all of it, some only half.
                let allowed = if n % 2 == 0 { 6 } else { 3 };
                threads.spawn(move || {
                    for _ in 0..2000 {
                        if let Some(_slot) = slots.take(allowed) {
                            let all = inside.fetch_add(1, Relaxed) + 1;
                            assert!(all <= 6, "{all} of 6");
                            most.fetch_max(all, Relaxed);
                            // So that others come in meanwhile.
                            std::thread::yield_now();
                            inside.fetch_sub(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(slots.taken(), 0);
        assert!(most.load(Relaxed) > 1, "they never met");
    }

    proptest! {
        #[test]
        fn it_counts_what_is_held(steps in prop::collection::vec((any::<bool>(), 0_u32..6), 0..100)) {
            let slots = Arc::new(Slots::default());
            let mut held = Vec::new();
            for (take, allowed) in steps {
                if take {
                    let slot = slots.take(allowed);
                    prop_assert_eq!(slot.is_some(), held.len() < allowed as usize);
                    held.extend(slot);
                } else {
                    held.pop();
                }
                prop_assert_eq!(slots.taken() as usize, held.len());
            }
        }
    }
}
