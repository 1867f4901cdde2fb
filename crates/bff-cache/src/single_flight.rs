//! Single-flight: equal calls at the same time become one.
//!
//! A flight is a future that its waiters share. The waiter that is woken polls it, so it needs no task of its own.
//! Progress wakes every waiter, so the others continue if one is dropped. When the last waiter is dropped, the flight
//! is dropped too, which cancels the call at once. A call that no other request joins costs one map entry.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};

use super::entry::Entry;
use super::hash::PrehashedBuildHasher;
use super::key::Key;
use bff_context::context::{Failure, Reason, SharedDeadline};

/// The result of a flight.
pub(super) type FlightResult = Result<Arc<Entry>, Failure>;
type SharedFetch = BoxFuture<'static, FlightResult>;

/// The number of locks, a power of two. At most this many threads can start flights at once.
const SHARDS: usize = 16;

type Shard = Mutex<HashMap<Key, ActiveFlight, PrehashedBuildHasher>>;

/// The active flights. Cheap to clone.
#[derive(Clone)]
pub(super) struct SingleFlight(Arc<Shards>);

struct Shards {
    shards: [Shard; SHARDS],
    next_number: AtomicU64,
}

struct ActiveFlight {
    number: u64,
    shared_fetch: WeakShared<SharedFetch>,
    deadline: Arc<SharedDeadline>,
    /// The time at which the flight started, in milliseconds since 1970.
    requested_at: u64,
}

/// A flight, as one of its waiters holds it.
pub(super) struct FlightHandle {
    shared_fetch: Shared<SharedFetch>,
    deadline: Arc<SharedDeadline>,
}

/// The result of joining or starting a flight.
pub(super) enum Joined {
    /// A flight that was active already.
    Existing(FlightHandle),
    /// A new flight.
    Leader(FlightHandle),
    /// The flight ended a moment ago and stored this entry.
    AlreadyCached(Arc<Entry>),
}

impl SingleFlight {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shards {
            shards: std::array::from_fn(|_| Shard::default()),
            next_number: AtomicU64::new(0),
        }))
    }

    /// Joins the flight under `key` if `is_current`, or starts one. The lock is held from the lookup to the start, so
    /// no other thread can start one meanwhile. `cached` looks once more for an entry stored since the caller looked.
    pub(super) fn join_or_start(
        &self,
        key: &Key,
        (requested_at, deadline): (u64, Instant),
        is_current: impl Fn(u64) -> bool,
        cached: impl FnOnce() -> Option<Arc<Entry>>,
        shared_fetch: impl FnOnce(Arc<SharedDeadline>, FlightGuard) -> SharedFetch,
    ) -> Joined {
        // Dropped after the lock, because a flight that ends takes the lock itself.
        let replaced;
        let mut flights = self.shard(key).lock();
        let active = flights.get(key);
        let joinable = active.and_then(|active| Some((active, active.shared_fetch.upgrade()?)));
        replaced = match joinable {
            Some((active, shared_fetch)) if is_current(active.requested_at) => {
                let deadline = active.deadline.clone();
                drop(flights);
                return Joined::Existing(FlightHandle {
                    shared_fetch,
                    deadline,
                });
            }
            Some((_, shared_fetch)) => Some(shared_fetch),
            None => None,
        };
        if let Some(entry) = cached() {
            drop(flights);
            drop(replaced);
            return Joined::AlreadyCached(entry);
        }
        let number = self.0.next_number.fetch_add(1, Relaxed);
        let guard = FlightGuard {
            flights: self.clone(),
            key: key.clone(),
            number,
        };
        let deadline = Arc::new(SharedDeadline::new(deadline));
        let shared_fetch = shared_fetch(deadline.clone(), guard).shared();
        if let Some(weak) = shared_fetch.downgrade() {
            let active = ActiveFlight {
                number,
                shared_fetch: weak,
                deadline: deadline.clone(),
                requested_at,
            };
            flights.insert(key.clone(), active);
        }
        drop(flights);
        drop(replaced);
        Joined::Leader(FlightHandle {
            shared_fetch,
            deadline,
        })
    }

    /// The number of active flights.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.shards.iter().map(|s| s.lock().len()).sum()
    }

    fn shard(&self, key: &Key) -> &Shard {
        &self.0.shards[(key.hash() >> 32) as usize & (SHARDS - 1)]
    }
}

/// Held by the flight's future. When it is dropped, no request can join the flight any more.
pub(super) struct FlightGuard {
    flights: SingleFlight,
    key: Key,
    number: u64,
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        let mut flights = self.flights.shard(&self.key).lock();
        if flights
            .get(&self.key)
            .is_some_and(|f| f.number == self.number)
        {
            flights.remove(&self.key);
        }
    }
}

impl FlightHandle {
    /// Waits until `waiter_deadline`; extends the deadline of the flight if needed.
    pub(super) fn wait(self, waiter_deadline: Instant) -> FlightFuture {
        self.deadline.extend(waiter_deadline);
        FlightFuture {
            flight: self,
            waiter_deadline,
            timer: None,
        }
    }
}

/// One waiter. Its own deadline applies, regardless of the flight's deadline.
pub(super) struct FlightFuture {
    flight: FlightHandle,
    waiter_deadline: Instant,
    /// Only set if the flight's deadline is later than this waiter's. Otherwise the flight ends in time by itself.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Future for FlightFuture {
    type Output = FlightResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FlightResult> {
        let this = &mut *self;
        if let Poll::Ready(result) = Pin::new(&mut this.flight.shared_fetch).poll(cx) {
            return Poll::Ready(result);
        }
        // Extending the deadline wakes no waiter. But the timer of the attempt still has the old deadline: it wakes
        // every waiter, and the earlier ones set their timers here.
        if this.timer.is_none() && this.flight.deadline.instant() > this.waiter_deadline {
            this.timer = Some(Box::pin(sleep_until(this.waiter_deadline)));
        }
        match &mut this.timer {
            Some(timer) => timer
                .as_mut()
                .poll(cx)
                .map(|()| Err(Failure::new(Reason::Deadline))),
            None => Poll::Pending,
        }
    }
}
