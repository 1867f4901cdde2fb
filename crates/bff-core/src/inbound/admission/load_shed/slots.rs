//! Counts requests in flight. Taking a slot never waits, and dropping the guard frees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The slots of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    taken: AtomicU32,
}

impl Slots {
    /// Takes a slot if fewer than `allowed` are taken. The check and the increment are one atomic step.
    pub(crate) fn take(self: &Arc<Self>, allowed: u32) -> Option<Slot> {
        let next = |taken| (taken < allowed).then(|| taken + 1);
        let taken = self.taken.fetch_update(Relaxed, Relaxed, next);
        taken.ok().map(|_| Slot(self.clone()))
    }

    /// The number of taken slots.
    pub(crate) fn taken(&self) -> u32 {
        self.taken.load(Relaxed)
    }
}

/// The guard of a taken slot. A drop frees the slot.
#[derive(Debug)]
#[must_use = "a drop frees the slot"]
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
    fn threads_never_hold_more_slots_than_allowed_and_free_all() {
        let slots = Arc::new(Slots::default());
        let (held, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|threads| {
            for n in 0..8 {
                let (slots, held, most) = (&slots, &held, &most);
                // Half of the threads may fill all slots, the others only half of them.
                let allowed = if n % 2 == 0 { 6 } else { 3 };
                threads.spawn(move || {
                    for _ in 0..2000 {
                        if let Some(_slot) = slots.take(allowed) {
                            let now = held.fetch_add(1, Relaxed) + 1;
                            assert!(now <= 6, "{now} of 6");
                            most.fetch_max(now, Relaxed);
                            // Gives other threads a chance to take a slot meanwhile.
                            std::thread::yield_now();
                            held.fetch_sub(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(slots.taken(), 0);
        assert!(most.load(Relaxed) > 1, "the threads never ran concurrently");
    }

    proptest! {
        #[test]
        fn taken_equals_the_held_slots(steps in prop::collection::vec((any::<bool>(), 0_u32..6), 0..100)) {
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
