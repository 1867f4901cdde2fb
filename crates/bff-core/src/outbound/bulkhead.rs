//! How many attempts may be under way at one backend at once; one too many is refused and never waits.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Failure, Reason};

/// When a place is likely to be free again; `Retry-After` counts in seconds.
const SOON: Duration = Duration::from_secs(1);

/// One backend's share of the gateway.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Attempts, streams and conversations under way at once. Default 256: at 50 ms each that is 5,000 a second, and a backend that hangs
    /// holds no more of the gateway than that.
    pub max_concurrent: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent: NonZeroU32::new(256).unwrap_or(NonZeroU32::MIN),
        }
    }
}

/// The places of one backend.
#[derive(Debug)]
pub struct Bulkhead {
    most: u32,
    taken: AtomicU32,
    peak: AtomicU32,
}

impl Bulkhead {
    /// All places free.
    pub fn new(config: &Config) -> Self {
        Self {
            most: config.max_concurrent.get(),
            taken: AtomicU32::new(0),
            peak: AtomicU32::new(0),
        }
    }

    /// Takes a place for as long as the guard lives, or fails at once.
    pub fn enter(&self) -> Result<Place<'_>, Failure> {
        let room = |taken| (taken < self.most).then(|| taken + 1);
        match self.taken.fetch_update(Relaxed, Relaxed, room) {
            Ok(before) => {
                if before >= self.peak.load(Relaxed) {
                    self.peak.fetch_max(before + 1, Relaxed);
                }
                Ok(Place(self))
            }
            Err(_) => Err(Failure::new(Reason::Overloaded)
                .unsent()
                .retry_after(Some(SOON))
                .because("max_concurrent attempts are under way")),
        }
    }

    /// Takes a place for work that goes on after its attempt, which was let in: it is never refused.
    pub(super) fn stay(&self) {
        self.taken.fetch_add(1, Relaxed);
    }

    /// Gives back a place taken by [`Self::stay`].
    pub(super) fn leave(&self) {
        self.taken.fetch_sub(1, Relaxed);
    }

    /// Places taken at the moment.
    pub fn taken(&self) -> u32 {
        self.taken.load(Relaxed)
    }

    /// The most places that were taken at once.
    pub fn peak(&self) -> u32 {
        self.peak.load(Relaxed)
    }
}

/// A place taken; free again when dropped.
#[derive(Debug)]
#[must_use = "dropped, the place is free again"]
pub struct Place<'a>(&'a Bulkhead);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(most: u32) -> Bulkhead {
        let max_concurrent = NonZeroU32::new(most).unwrap();
        Bulkhead::new(&Config { max_concurrent })
    }

    #[test]
    fn one_too_many_is_refused_and_a_place_comes_back() {
        let bulkhead = of(2);
        let first = bulkhead.enter().unwrap();
        let _second = bulkhead.enter().unwrap();
        let refused = bulkhead.enter().unwrap_err();
        assert_eq!(refused.reason(), Reason::Overloaded);
        assert_eq!(refused.retry_hint(), Some(SOON));
        drop(first);
        assert!(bulkhead.enter().is_ok());
    }

    #[test]
    fn threads_never_share_a_place_and_all_come_back() {
        let bulkhead = of(3);
        let inside = AtomicU32::new(0);
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    for _ in 0..2000 {
                        if let Ok(_place) = bulkhead.enter() {
                            assert!(inside.fetch_add(1, Relaxed) < 3);
                            inside.fetch_sub(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(bulkhead.taken(), 0);
        assert!((1..=3).contains(&bulkhead.peak()));
    }

    proptest! {
        #[test]
        fn it_counts_what_is_held(most in 1_u32..6, steps in prop::collection::vec(any::<bool>(), 0..100)) {
            let bulkhead = of(most);
            let (mut held, mut peak) = (Vec::new(), 0);
            for enter in steps {
                if enter {
                    let place = bulkhead.enter().ok();
                    prop_assert_eq!(place.is_some(), held.len() < most as usize);
                    held.extend(place);
                } else {
                    held.pop();
                }
                peak = peak.max(held.len());
                prop_assert_eq!(bulkhead.taken() as usize, held.len());
                prop_assert_eq!(bulkhead.peak() as usize, peak);
            }
        }
    }
}
