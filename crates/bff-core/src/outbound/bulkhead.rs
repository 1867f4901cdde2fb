//! How many attempts may be under way at one backend at once, and how many streams beside them; one too many is refused
//! and never waits.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Failure, Reason};

/// When a place is likely to be free again; `Retry-After` counts in seconds.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One backend's share of the gateway.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Attempts under way at once, of what streams up to the head of the answer. Default 256: at 50 ms each that is 5,000 a
    /// second, and a backend that hangs holds no more of the gateway than that.
    pub max_concurrent: NonZeroU32,
    /// What streams at once, from its attempt on for as long as it lasts: bodies that are passed on, `WebSockets`,
    /// conversations. Default 1024: between two pieces it costs the backend little more than a connection, and however
    /// many there are, they take no place from calls.
    pub max_streams: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent: NonZeroU32::new(256).unwrap_or(NonZeroU32::MIN),
            max_streams: NonZeroU32::new(1024).unwrap_or(NonZeroU32::MIN),
        }
    }
}

/// The places of one backend.
#[derive(Debug)]
pub struct Bulkhead {
    calls: BoundedSlots,
    streams: BoundedSlots,
}

#[derive(Debug)]
struct BoundedSlots {
    most: u32,
    taken: AtomicU32,
    peak: AtomicU32,
    /// Why there is none left.
    full: &'static str,
}

impl Bulkhead {
    /// All places free.
    pub fn new(config: &Config) -> Self {
        Self {
            calls: BoundedSlots::of(
                config.max_concurrent,
                "max_concurrent attempts are under way",
            ),
            streams: BoundedSlots::of(config.max_streams, "max_streams streams are under way"),
        }
    }

    /// Takes a place for as long as the guard lives, or fails at once.
    pub fn enter(&self) -> Result<Permit<'_>, Failure> {
        self.calls.enter()
    }

    /// The same among the streams.
    pub fn enter_stream(&self) -> Result<Permit<'_>, Failure> {
        self.streams.enter()
    }

    /// Takes a place for work that goes on after its attempt, which was let in and still holds its own: it is never
    /// refused.
    pub(super) fn acquire_unchecked(&self, lasting: bool) {
        self.of(lasting).taken.fetch_add(1, Relaxed);
    }

    /// Gives back a place taken by [`Self::stay`].
    pub(super) fn release(&self, lasting: bool) {
        self.of(lasting).taken.fetch_sub(1, Relaxed);
    }

    fn of(&self, lasting: bool) -> &BoundedSlots {
        if lasting { &self.streams } else { &self.calls }
    }

    /// Places taken at the moment.
    pub fn taken(&self) -> u32 {
        self.calls.taken.load(Relaxed)
    }

    /// The most places that were taken at once.
    pub fn peak(&self) -> u32 {
        self.calls.peak.load(Relaxed)
    }
}

impl BoundedSlots {
    fn of(most: NonZeroU32, full: &'static str) -> Self {
        Self {
            most: most.get(),
            taken: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            full,
        }
    }

    fn enter(&self) -> Result<Permit<'_>, Failure> {
        let room = |taken| (taken < self.most).then(|| taken + 1);
        match self.taken.fetch_update(Relaxed, Relaxed, room) {
            Ok(before) => {
                if before >= self.peak.load(Relaxed) {
                    self.peak.fetch_max(before + 1, Relaxed);
                }
                Ok(Permit(self))
            }
            Err(_) => Err(Failure::new(Reason::Overloaded)
                .not_sent()
                .with_retry_after(Some(RETRY_AFTER))
                .with_cause(self.full)),
        }
    }
}

/// A place taken; free again when dropped.
#[derive(Debug)]
#[must_use = "dropped, the place is free again"]
pub struct Permit<'a>(&'a BoundedSlots);

impl Drop for Permit<'_> {
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
        Bulkhead::new(&Config {
            max_concurrent,
            max_streams: NonZeroU32::MIN,
        })
    }

    #[test]
    fn what_streams_takes_no_place_from_calls_nor_the_other_way_round() {
        let bulkhead = of(1);
        // As an attempt does whose answer goes on streaming.
        let attempt = (bulkhead.enter().unwrap(), bulkhead.enter_stream().unwrap());
        bulkhead.acquire_unchecked(true);
        drop(attempt);
        let refused = bulkhead.enter_stream().unwrap_err();
        assert_eq!(refused.reason(), Reason::Overloaded);
        let call = bulkhead.enter().unwrap();
        assert!(bulkhead.enter().is_err());
        bulkhead.release(true);
        assert!(bulkhead.enter_stream().is_ok());
        drop(call);
    }

    #[test]
    fn one_too_many_is_refused_and_a_place_comes_back() {
        let bulkhead = of(2);
        let first = bulkhead.enter().unwrap();
        let _second = bulkhead.enter().unwrap();
        let refused = bulkhead.enter().unwrap_err();
        assert_eq!(refused.reason(), Reason::Overloaded);
        assert_eq!(refused.retry_after(), Some(RETRY_AFTER));
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
