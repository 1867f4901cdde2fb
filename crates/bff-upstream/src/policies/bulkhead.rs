//! The bulkhead of one backend: limits on concurrent attempts and on concurrent streams.
//!
//! A request above the limit is rejected at once. It never waits.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use bff_context::context::{Failure, Reason};

/// The time after which a slot is probably free. One second is the smallest value of `Retry-After`.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The limits of one backend.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The maximum number of concurrent attempts. A stream counts here until its response headers. Default
    /// 1024: enough for 1,000 clients at once. A hanging backend then occupies half of what load shedding admits.
    pub max_concurrent: NonZeroU32,
    /// The maximum number of concurrent streams: forwarded bodies, `WebSockets` and gRPC streams, from the attempt to
    /// their end. Default 1024: an idle stream costs the backend little more than a connection. Streams take no slots
    /// from calls.
    pub max_streams: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent: NonZeroU32::new(1024).unwrap_or(NonZeroU32::MIN),
            max_streams: NonZeroU32::new(1024).unwrap_or(NonZeroU32::MIN),
        }
    }
}

/// The slots of one backend.
#[derive(Debug)]
pub struct Bulkhead {
    calls: BoundedSlots,
    streams: BoundedSlots,
}

#[derive(Debug)]
struct BoundedSlots {
    max: u32,
    in_use: AtomicU32,
    peak: AtomicU32,
    /// The cause of a rejection.
    rejection: &'static str,
}

impl Bulkhead {
    /// Creates a bulkhead with all slots free.
    pub fn new(config: &Config) -> Self {
        Self {
            calls: BoundedSlots::new(
                config.max_concurrent,
                "max_concurrent attempts are in flight",
            ),
            streams: BoundedSlots::new(config.max_streams, "max_streams streams are in flight"),
        }
    }

    /// Takes a slot for a call, until the permit is dropped.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] if all slots are in use.
    pub fn try_acquire(&self) -> Result<Permit<'_>, Failure> {
        self.calls.try_acquire()
    }

    /// Takes a slot for a stream, like [`Self::try_acquire`].
    pub fn try_acquire_stream(&self) -> Result<Permit<'_>, Failure> {
        self.streams.try_acquire()
    }

    /// Takes a slot for an exchange that continues after its attempt, without a check of the limit.
    ///
    /// The attempt was admitted and still holds its own permit.
    pub(super) fn acquire_unchecked(&self, streaming: bool) {
        self.slots(streaming).in_use.fetch_add(1, Relaxed);
    }

    /// Releases a slot taken by [`Self::acquire_unchecked`].
    pub(super) fn release(&self, streaming: bool) {
        self.slots(streaming).in_use.fetch_sub(1, Relaxed);
    }

    fn slots(&self, streaming: bool) -> &BoundedSlots {
        if streaming {
            &self.streams
        } else {
            &self.calls
        }
    }

    /// The number of call slots in use.
    pub fn in_use(&self) -> u32 {
        self.calls.in_use.load(Relaxed)
    }

    /// The highest number of call slots in use so far.
    pub fn peak(&self) -> u32 {
        self.calls.peak.load(Relaxed)
    }
}

impl BoundedSlots {
    fn new(max: NonZeroU32, rejection: &'static str) -> Self {
        Self {
            max: max.get(),
            in_use: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            rejection,
        }
    }

    fn try_acquire(&self) -> Result<Permit<'_>, Failure> {
        let next = |in_use| (in_use < self.max).then(|| in_use + 1);
        match self.in_use.fetch_update(Relaxed, Relaxed, next) {
            Ok(before) => {
                if before >= self.peak.load(Relaxed) {
                    self.peak.fetch_max(before + 1, Relaxed);
                }
                Ok(Permit(self))
            }
            Err(_) => Err(Failure::new(Reason::Overloaded)
                .not_sent()
                .with_retry_after(Some(RETRY_AFTER))
                .with_cause(self.rejection)),
        }
    }
}

/// A slot of the bulkhead, released on drop.
#[derive(Debug)]
#[must_use = "dropping the permit releases the slot"]
pub struct Permit<'a>(&'a BoundedSlots);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bulkhead(max: u32) -> Bulkhead {
        let max_concurrent = NonZeroU32::new(max).unwrap();
        Bulkhead::new(&Config {
            max_concurrent,
            max_streams: NonZeroU32::MIN,
        })
    }

    #[test]
    fn streams_and_calls_have_separate_slots() {
        let bulkhead = bulkhead(1);
        // The steps of an attempt whose response body continues to stream.
        let attempt = (
            bulkhead.try_acquire().unwrap(),
            bulkhead.try_acquire_stream().unwrap(),
        );
        bulkhead.acquire_unchecked(true);
        drop(attempt);
        let rejected = bulkhead.try_acquire_stream().unwrap_err();
        assert_eq!(rejected.reason(), Reason::Overloaded);
        let call = bulkhead.try_acquire().unwrap();
        assert!(bulkhead.try_acquire().is_err());
        bulkhead.release(true);
        assert!(bulkhead.try_acquire_stream().is_ok());
        drop(call);
    }

    #[test]
    fn a_request_above_the_limit_is_rejected_until_a_slot_is_free() {
        let bulkhead = bulkhead(2);
        let first = bulkhead.try_acquire().unwrap();
        let _second = bulkhead.try_acquire().unwrap();
        let rejected = bulkhead.try_acquire().unwrap_err();
        assert_eq!(rejected.reason(), Reason::Overloaded);
        assert_eq!(rejected.retry_after(), Some(RETRY_AFTER));
        drop(first);
        assert!(bulkhead.try_acquire().is_ok());
    }

    #[test]
    fn concurrent_permits_stay_below_the_limit_and_are_all_released() {
        let bulkhead = bulkhead(3);
        let inside = AtomicU32::new(0);
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    for _ in 0..2000 {
                        if let Ok(_permit) = bulkhead.try_acquire() {
                            assert!(inside.fetch_add(1, Relaxed) < 3);
                            inside.fetch_sub(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(bulkhead.in_use(), 0);
        assert!((1..=3).contains(&bulkhead.peak()));
    }

    proptest! {
        #[test]
        fn in_use_is_the_number_of_held_permits(max in 1_u32..6, steps in prop::collection::vec(any::<bool>(), 0..100)) {
            let bulkhead = bulkhead(max);
            let (mut held, mut peak) = (Vec::new(), 0);
            for acquire in steps {
                if acquire {
                    let permit = bulkhead.try_acquire().ok();
                    prop_assert_eq!(permit.is_some(), held.len() < max as usize);
                    held.extend(permit);
                } else {
                    held.pop();
                }
                peak = peak.max(held.len());
                prop_assert_eq!(bulkhead.in_use() as usize, held.len());
                prop_assert_eq!(bulkhead.peak() as usize, peak);
            }
        }
    }
}
