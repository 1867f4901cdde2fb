//! A simulation of clients, a gateway and its backend. Each of the last two has a number of slots, a service time and
//! a FIFO queue.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::super::{ClassLimits, PriorityClass};
use super::*;

/// The gateway's deadline of a request.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// The timeout of a call to the backend.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time after which a rejected client of a closed loop sends the next request.
const RETRY: Duration = Duration::from_millis(1);
/// The classes with their part of the requests of an open loop, in percent.
const MIX: [(PriorityClass, u64); 3] = [
    (PriorityClass::Prefetch, 20),
    (PriorityClass::Anonymous, 50),
    (PriorityClass::SignedIn, 30),
];
/// Indexes in [`MIX`].
const ANONYMOUS: usize = 1;
pub(super) const SIGNED_IN: usize = 2;

/// A queue that is served in the order of arrival.
pub(super) struct Queue {
    slots: usize,
    pub(super) service: Duration,
    /// The time at which each slot becomes free.
    free: BinaryHeap<Reverse<Instant>>,
}

impl Queue {
    pub(super) fn new(slots: usize, service: Duration) -> Self {
        let free = BinaryHeap::new();
        Self {
            slots,
            service,
            free,
        }
    }

    /// The requests per second that it can serve.
    fn capacity(&self) -> f64 {
        f64::from(u32::try_from(self.slots).unwrap()) / self.service.as_secs_f64()
    }

    /// Serves nothing for this time.
    pub(super) fn pause(&mut self, now: Instant, time: Duration) {
        for _ in 0..self.slots {
            self.free.pop();
            self.free.push(Reverse(now + time));
        }
    }

    /// The time at which a request that arrives now ends. `Err`: it leaves at `give_up`, without a response.
    pub(super) fn serve(&mut self, now: Instant, give_up: Instant) -> Result<Instant, Instant> {
        while self.free.len() > self.slots {
            self.free.pop();
        }
        let full = self.free.len() == self.slots;
        let next = if full { self.free.pop() } else { None };
        let start = next.map_or(now, |Reverse(at)| at.max(now));
        let end = start + self.service;
        self.free.push(Reverse(end.min(start.max(give_up))));
        if end <= give_up {
            Ok(end)
        } else {
            Err(give_up)
        }
    }
}

/// The load of a run.
#[derive(Clone, Copy)]
pub(super) enum Load {
    /// Independent random arrivals, per second.
    Open(f64),
    /// Clients that each send the next request after the response.
    Closed(usize),
}

/// The results of one class.
#[derive(Debug, Default)]
pub(super) struct ClassOutcome {
    offered: u32,
    completed: u32,
    rejected: u32,
    /// Requests that ended without a response in time.
    dropped: u32,
}

impl ClassOutcome {
    /// The fraction of the requests that did not fail.
    pub(super) fn success(&self) -> f64 {
        1.0 - f64::from(self.rejected + self.dropped) / f64::from(self.offered)
    }
}

/// The results of a run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) classes: [ClassOutcome; 3],
    pub(super) slowest: Duration,
    pub(super) goodput: f64,
    pub(super) rejected: u32,
}

/// A request in flight, ordered by its end.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    end: Instant,
    started: Instant,
    completes: bool,
    class: usize,
    run: u32,
}

pub(super) struct Simulation {
    pub(super) limit: AdaptiveConcurrencyLimit,
    pub(super) now: Instant,
    /// The processor time of the gateway.
    pub(super) cpu: Queue,
    pub(super) backend: Queue,
    pub(super) attempt_timeout: Duration,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    random: u64,
    run: u32,
}

impl Simulation {
    /// A backend with this number of slots and service time. The gateway has one core.
    pub(super) fn new(slots: usize, service: Duration) -> Self {
        let now = Instant::now();
        Self {
            limit: AdaptiveConcurrencyLimit::new(&Config::default(), DEADLINE, now),
            now,
            cpu: Queue::new(1, Duration::from_micros(70)),
            backend: Queue::new(slots, service),
            attempt_timeout: ATTEMPT_TIMEOUT,
            in_flight: BinaryHeap::new(),
            random: 1,
            run: 0,
        }
    }

    /// The requests per second that the gateway and the backend can process.
    pub(super) fn capacity(&self) -> f64 {
        self.cpu.capacity().min(self.backend.capacity())
    }

    fn random(&mut self) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.random >> 32
    }

    /// A random time between two arrivals of a Poisson process, at `rate` requests a second.
    fn gap(&mut self, rate: f64) -> Duration {
        let chance = f64::from(u32::try_from(self.random()).unwrap()) / f64::from(u32::MAX);
        Duration::from_secs_f64(-chance.clamp(1e-9, 1.0).ln() / rate)
    }

    fn class(&mut self) -> usize {
        let mut n = self.random() % 100;
        let found = MIX.iter().position(|(_, percent)| {
            let found = n < *percent;
            n = n.wrapping_sub(*percent);
            found
        });
        found.unwrap()
    }

    /// Sends a load for `duration`.
    pub(super) fn run(&mut self, load: Load, duration: Duration) -> Outcome {
        self.run += 1;
        let until = self.now + duration;
        let mut outcome = Outcome::default();
        let mut arrivals = BinaryHeap::new();
        match load {
            Load::Open(rate) => arrivals.push(Reverse(self.now + self.gap(rate))),
            Load::Closed(clients) => arrivals.extend(vec![Reverse(self.now); clients]),
        }
        loop {
            let arrival = arrivals.peek().map_or(until, |Reverse(at)| *at).min(until);
            let end = self.in_flight.peek().map(|Reverse(first)| first.end);
            if let Some(end) = end.filter(|end| *end <= arrival) {
                self.now = end;
                let of_this_run = self.end_request(&mut outcome);
                if of_this_run && matches!(load, Load::Closed(_)) {
                    arrivals.push(Reverse(end));
                }
                continue;
            }
            self.now = arrival;
            if arrival == until {
                let completed: u32 = outcome.classes.iter().map(|class| class.completed).sum();
                outcome.goodput = f64::from(completed) / duration.as_secs_f64();
                outcome.rejected = outcome.classes.iter().map(|class| class.rejected).sum();
                return outcome;
            }
            arrivals.pop();
            let class = match load {
                Load::Open(rate) => {
                    arrivals.push(Reverse(arrival + self.gap(rate)));
                    self.class()
                }
                Load::Closed(_) => ANONYMOUS,
            };
            if !self.start_request(class, &mut outcome) && matches!(load, Load::Closed(_)) {
                arrivals.push(Reverse(arrival + RETRY));
            }
        }
    }

    /// Admits or rejects a request. Returns whether it was admitted.
    fn start_request(&mut self, class: usize, outcome: &mut Outcome) -> bool {
        let allowed = ClassLimits::default().for_class(MIX[class].0, self.limit.current());
        outcome.classes[class].offered += 1;
        if self.in_flight.len() >= allowed as usize {
            self.limit.record_rejection();
            outcome.classes[class].rejected += 1;
            return false;
        }
        let called = (self.cpu.serve(self.now, self.now + DEADLINE)).unwrap_or_else(|end| end);
        let end = self.backend.serve(called, called + self.attempt_timeout);
        self.in_flight.push(Reverse(InFlight {
            end: end.unwrap_or_else(|end| end),
            started: self.now,
            completes: end.is_ok(),
            class,
            run: self.run,
        }));
        true
    }

    /// Ends the next request. Returns whether it started in this run.
    fn end_request(&mut self, outcome: &mut Outcome) -> bool {
        let in_flight = u32::try_from(self.in_flight.len()).unwrap();
        let Some(Reverse(request)) = self.in_flight.pop() else {
            return false;
        };
        let latency = request.end - request.started;
        outcome.slowest = outcome.slowest.max(latency);
        let signal = if request.completes && latency <= DEADLINE {
            outcome.classes[request.class].completed += 1;
            RequestOutcome::Completed(latency)
        } else {
            outcome.classes[request.class].dropped += 1;
            RequestOutcome::Dropped(latency)
        };
        (self.limit).record_outcome(request.end, signal, in_flight);
        request.run == self.run
    }
}
