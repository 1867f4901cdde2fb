//! An admitted request: its slots, its measured latency, and the second check.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http_body::Body as _;
use tokio::time::Instant;

use super::concurrency_limit::RequestOutcome;
use super::intent::{Intent, PriorityClass};
use super::shedder::LoadShedder;
use super::slots::Slot;
use crate::auth::Authenticator;
use crate::error::{Error, codes};
use crate::inbound::endpoints::{EndpointOptions, WriteDetection};

impl LoadShedder {
    /// Takes the slots for a request to an endpoint or a proxy route. The error is 503 `overloaded`.
    pub(in crate::inbound) fn admit(
        self: &Arc<Self>,
        options: &EndpointOptions,
        request: &mut Request,
    ) -> Result<Admission, Error> {
        let (method, headers) = (request.method(), request.headers());
        let credential = Authenticator::has_credential(headers);
        let intent = Intent::from_headers(method, headers, options, credential);
        let streams = options.stream_idle.is_some();
        let slot = self.take_slot(intent.class())?;
        let stream = streams.then(|| self.take_stream_slot(intent.class()));
        let stream = stream.transpose()?;
        let budget = options.timeout.unwrap_or_default().max(self.deadline);
        let measured = !streams || request.body().is_end_stream();
        let ticket = AdmissionTicket::new(self.clone(), intent, budget, measured);
        if options.write_detection == WriteDetection::ByBody {
            request.extensions_mut().insert(ticket.clone());
        }
        Ok(Admission::new(ticket, slot, stream))
    }
}

/// The slots of an admitted request.
pub(in crate::inbound) struct Admission {
    in_flight: InFlight,
    /// The slot of a streaming response.
    stream: Option<Slot>,
}

impl Admission {
    /// Holds the slots of a request until its outcome is recorded.
    pub(super) fn new(ticket: AdmissionTicket, slot: Slot, stream: Option<Slot>) -> Self {
        let slot = Some(slot);
        let in_flight = InFlight { ticket, slot };
        Self { in_flight, stream }
    }

    /// The ticket for a second check, when more about the request is known.
    pub(in crate::inbound) fn ticket(&self) -> &AdmissionTicket {
        &self.in_flight.ticket
    }

    /// Records the outcome. Returns the slot to hold until the body is sent.
    pub(in crate::inbound) fn finish(self, response: &Response) -> Option<Slot> {
        let slot = self.in_flight.finish(response);
        self.stream.or(slot)
    }
}

/// A request in progress. A drop without a response means that the client has disconnected.
struct InFlight {
    ticket: AdmissionTicket,
    slot: Option<Slot>,
}

impl InFlight {
    /// Records the outcome and returns the slot.
    fn finish(mut self, response: &Response) -> Option<Slot> {
        let slot = self.slot.take();
        let code = response.extensions().get::<Error>().map(Error::code);
        let status = response.status();
        let dropped = [codes::DEADLINE, codes::TIMEOUT, codes::OVERLOADED];
        self.ticket.0.record_outcome(|latency, deadline| {
            if code == Some(codes::DEADLINE) && latency < deadline / 2 {
                // The client's own deadline is shorter. The gateway's one may end some milliseconds early.
                Some(RequestOutcome::Disconnected(latency))
            } else if code.is_some_and(|code| dropped.contains(&code)) {
                Some(RequestOutcome::Dropped(latency))
            } else if status.is_client_error() || status.is_server_error() {
                // Other failures are not caused by load and usually immediate, so they are not recorded.
                None
            } else {
                Some(RequestOutcome::Completed(latency))
            }
        });
        slot
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.slot.is_some() {
            (self.ticket.0)
                .record_outcome(|latency, _| Some(RequestOutcome::Disconnected(latency)));
        }
    }
}

/// The facts about an admitted request.
#[derive(Debug)]
struct Ticket {
    shedder: Arc<LoadShedder>,
    intent: Intent,
    started: Instant,
    /// The time that the route has: at least the gateway's deadline.
    budget: Duration,
    /// The time in a rate limit's queue, which is not the backends' latency.
    waited_ms: AtomicU64,
    /// Whether the outcome counts. It does not if the client streams its body, or if the shedder rejected the request.
    measured: AtomicBool,
}

impl Ticket {
    /// Records the outcome for this latency and the gateway's deadline, if the request is measured.
    fn record_outcome(&self, outcome: impl FnOnce(Duration, Duration) -> Option<RequestOutcome>) {
        if !self.measured.load(Relaxed) {
            return;
        }
        let now = Instant::now();
        let waited = Duration::from_millis(self.waited_ms.load(Relaxed));
        let share = self.shedder.deadline.as_secs_f64() / self.budget.as_secs_f64();
        let latency = (now - self.started).saturating_sub(waited).mul_f64(share);
        if let Some(outcome) = outcome(latency, self.shedder.deadline) {
            self.shedder.record_outcome(now, outcome);
        }
    }
}

/// Repeats the admission check when more about the request is known than its headers.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionTicket(Arc<Ticket>);

impl AdmissionTicket {
    /// Starts the measurement of a request. `budget` is the time that its route has.
    pub(super) fn new(
        shedder: Arc<LoadShedder>,
        intent: Intent,
        budget: Duration,
        measured: bool,
    ) -> Self {
        Self(Arc::new(Ticket {
            shedder,
            intent,
            started: Instant::now(),
            budget,
            waited_ms: AtomicU64::new(0),
            measured: AtomicBool::new(measured),
        }))
    }

    /// Excludes a wait that begins now from the measured latency.
    pub(in crate::inbound) fn exclude(&self, wait: Duration) {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.0.waited_ms.store(millis, Relaxed);
    }

    /// Repeats the check after authentication, with the caller's plan.
    pub(crate) fn recheck_plan(&self, plan: Option<&str>) -> Result<(), Error> {
        let (class, shedder) = (self.0.intent.class(), &self.0.shedder);
        if class != PriorityClass::SignedIn || shedder.class_limits.plans.is_empty() {
            return Ok(());
        }
        let current = shedder.current.load(Relaxed);
        let allowed = shedder.class_limits.for_plan(plan, current);
        self.recheck(class, plan.unwrap_or_default(), allowed)
    }

    /// Repeats the check for a request whose body proves to be a read.
    #[cfg(feature = "graphql")]
    pub(crate) fn recheck_as_read(&self) -> Result<(), Error> {
        let (class, shedder) = (self.0.intent.as_read().class(), &self.0.shedder);
        if class == self.0.intent.class() {
            return Ok(());
        }
        let current = shedder.current.load(Relaxed);
        let allowed = shedder.class_limits.for_class(class, current);
        self.recheck(class, "", allowed)
    }

    /// Rejects the request if more than `allowed` slots are taken.
    fn recheck(&self, class: PriorityClass, plan: &str, allowed: u32) -> Result<(), Error> {
        if self.0.shedder.slots.taken() <= allowed {
            return Ok(());
        }
        self.0.measured.store(false, Relaxed);
        Err(self.0.shedder.reject(class, plan))
    }
}
