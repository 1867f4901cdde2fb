//! One call for all who want the same answer at once.
//!
//! A flight is a future that its waiters share: whoever is woken drives it, so it needs no task of its own. A leader
//! who leaves hands it over by leaving, for every waiter is woken by its progress; when the last one leaves, it is
//! dropped with them, and the call is cancelled in the same instant. A call that nobody joins costs a map entry.

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
use crate::outbound::{Failure, Reason, SharedDeadline};

/// How a flight ends.
pub(super) type FlightResult = Result<Arc<Entry>, Failure>;
type SharedFetch = BoxFuture<'static, FlightResult>;

/// A power of two: so many threads can begin flights side by side.
const SHARDS: usize = 16;

type Shard = Mutex<HashMap<Key, ActiveFlight, PrehashedBuildHasher>>;

/// The flights in the air. Cheap to clone.
#[derive(Clone)]
pub(super) struct SingleFlight(Arc<Shards>);

struct Shards {
    shards: [Shard; SHARDS],
    begun: AtomicU64,
}

struct ActiveFlight {
    number: u64,
    course: WeakShared<SharedFetch>,
    until: Arc<SharedDeadline>,
    /// When it was asked for, in milliseconds since 1970.
    asked: u64,
}

/// A flight, as one of its waiters holds it.
pub(super) struct FlightHandle {
    course: Shared<SharedFetch>,
    until: Arc<SharedDeadline>,
}

/// What came of wanting a flight.
pub(super) enum Joined {
    /// One that is in the air already.
    Existing(FlightHandle),
    /// A new one.
    Leader(FlightHandle),
    /// It landed a moment ago.
    AlreadyCached(Arc<Entry>),
}

impl SingleFlight {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shards {
            shards: std::array::from_fn(|_| Shard::default()),
            begun: AtomicU64::new(0),
        }))
    }

    /// Joins the flight under `key` if it is current, or begins one. Between the two nobody else can begin one:
    /// `landed` looks once more for an answer that was kept since it was looked for.
    pub(super) fn join_or_start(
        &self,
        key: &Key,
        (asked, until): (u64, Instant),
        is_current: impl Fn(u64) -> bool,
        landed: impl FnOnce() -> Option<Arc<Entry>>,
        course: impl FnOnce(Arc<SharedDeadline>, FlightGuard) -> SharedFetch,
    ) -> Joined {
        // Dropped after the lock: a flight that ends with it takes the lock itself.
        let outdated;
        let mut flights = self.shard(key).lock();
        let known = flights.get(key);
        let found = known.and_then(|known| Some((known, known.course.upgrade()?)));
        outdated = match found {
            Some((known, course)) if is_current(known.asked) => {
                let until = known.until.clone();
                drop(flights);
                return Joined::Existing(FlightHandle { course, until });
            }
            Some((_, course)) => Some(course),
            None => None,
        };
        if let Some(entry) = landed() {
            drop(flights);
            drop(outdated);
            return Joined::AlreadyCached(entry);
        }
        let number = self.0.begun.fetch_add(1, Relaxed);
        let leaving = FlightGuard {
            flights: self.clone(),
            key: key.clone(),
            number,
        };
        let until = Arc::new(SharedDeadline::new(until));
        let course = course(until.clone(), leaving).shared();
        if let Some(weak) = course.downgrade() {
            let known = ActiveFlight {
                number,
                course: weak,
                until: until.clone(),
                asked,
            };
            flights.insert(key.clone(), known);
        }
        drop(flights);
        drop(outdated);
        Joined::Leader(FlightHandle { course, until })
    }

    /// How many are in the air.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.shards.iter().map(|s| s.lock().len()).sum()
    }

    fn shard(&self, key: &Key) -> &Shard {
        &self.0.shards[(key.hash() >> 32) as usize & (SHARDS - 1)]
    }
}

/// Held by a flight's future: when it ends, or is dropped, nobody can join it any more.
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
    /// Waits until `mine`, which may move the flight's own end.
    pub(super) fn wait(self, mine: Instant) -> FlightFuture {
        self.until.extend(mine);
        FlightFuture {
            flight: self,
            mine,
            timer: None,
        }
    }
}

/// One waiter: it waits by its own deadline, whatever the flight's is.
pub(super) struct FlightFuture {
    flight: FlightHandle,
    mine: Instant,
    /// Needed only where the flight goes on longer than this waiter may: a flight ends by its own time else.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Future for FlightFuture {
    type Output = FlightResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FlightResult> {
        let this = &mut *self;
        if let Poll::Ready(landed) = Pin::new(&mut this.flight.course).poll(cx) {
            return Poll::Ready(landed);
        }
        // Who moved the end woke nobody, but the timer of the attempt under way still is at the old one, wakes every
        // waiter, and brings the earlier ones here.
        if this.timer.is_none() && this.flight.until.instant() > this.mine {
            this.timer = Some(Box::pin(sleep_until(this.mine)));
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
