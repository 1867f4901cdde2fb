//! Load shedding: under overload, some requests are rejected before any work is done, so that the others stay fast.
//!
//! A request takes a slot, or is rejected at once with 503 `overloaded` and `Retry-After`. Nothing waits for a slot: a
//! queue would delay every request, and under lasting overload it would reject as many. The limit is about twice the
//! number that the backends process at once. So it already includes the short waits that keep them busy. It is
//! measured ([`concurrency_limit`]). The fraction of it that a request may fill depends on its class
//! ([`PriorityClass`], [`ClassLimits`]).
//!
//! The class is known from the request's headers. Two later facts cause a second check against the same slots. After
//! authentication it is the caller's plan (`AdmissionTicket::recheck_plan`). After the body is parsed it is a read
//! among possible writes (`AdmissionTicket::recheck_as_read`). Both come before any call to a backend.
//!
//! A slot is held until the body is fully sent. Streaming responses release it after the headers, because an idle
//! subscriber causes no load. They hold a slot of a second kind, of fixed number, until they end. If the client streams
//! its body too, the time to the response's headers depends on the client, so it is not measured. `/health` and other
//! pages that are not endpoints take no slot.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http_body::Body as _;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::GatewayHandles;
use crate::auth::Authenticator;
use crate::error::{Error, codes};
use crate::inbound::endpoints::{EndpointOptions, WriteDetection};
use concurrency_limit::{AdaptiveConcurrencyLimit, RequestOutcome};
use intent::Intent;
use slots::Slots;

pub use class_limits::ClassLimits;
pub use config::Config;
pub use intent::PriorityClass;
pub(in crate::inbound) use slots::Slot;

mod class_limits;
pub mod concurrency_limit;
mod config;
mod intent;
mod slots;

/// `Retry-After` is a random number of seconds from 1 to this, so that rejected clients do not return at the same time.
const MAX_RETRY_SECONDS: u64 = 3;

/// The load shedder of one gateway.
#[derive(Debug)]
pub(crate) struct LoadShedder {
    slots: Arc<Slots>,
    streams: Arc<Slots>,
    max_streams: u32,
    /// A copy of [`AdaptiveConcurrencyLimit::current`], to read it without the lock.
    current: Arc<AtomicU32>,
    limit: Mutex<AdaptiveConcurrencyLimit>,
    class_limits: ClassLimits,
    shared: Arc<GatewayHandles>,
}

impl LoadShedder {
    /// Creates a shedder with all slots free. The error is one line that names the wrong key.
    pub(crate) fn new(config: &Config, shared: &Arc<GatewayHandles>) -> Result<Arc<Self>, String> {
        let wrong = |key: &str, line: String| format!("inbound.load_shedding.{key}.{line}");
        (config.concurrency_limit.check()).map_err(|line| wrong("concurrency_limit", line))?;
        (config.class_limits.check()).map_err(|line| wrong("class_limits", line))?;
        let limit = AdaptiveConcurrencyLimit::new(&config.concurrency_limit, Instant::now());
        let current = Arc::new(AtomicU32::new(limit.current()));
        let slots = Arc::new(Slots::default());
        let streams = Arc::new(Slots::default());
        let gauges = (current.clone(), slots.clone(), streams.clone());
        shared.metrics.gauge(
            "bff.concurrency.limit",
            "The current limit of concurrent requests.",
            move || u64::from(gauges.0.load(Relaxed)),
        );
        shared.metrics.gauge(
            "bff.requests.in_flight",
            "Requests that hold a slot of that limit now.",
            move || u64::from(gauges.1.taken()),
        );
        shared.metrics.gauge(
            "bff.active_streams",
            "Responses that stream now.",
            move || u64::from(gauges.2.taken()),
        );
        Ok(Arc::new(Self {
            slots,
            streams,
            max_streams: config.max_streams.get(),
            current,
            limit: Mutex::new(limit),
            class_limits: config.class_limits.clone(),
            shared: shared.clone(),
        }))
    }

    /// Takes a slot for a streaming response. The error is 503 `overloaded`.
    fn take_stream_slot(&self, class: PriorityClass) -> Result<Slot, Error> {
        let slot = self.streams.take(self.max_streams);
        slot.ok_or_else(|| {
            self.shared.metrics.shed(class.as_str(), "");
            self.overloaded(format_args!("max_streams reached"))
        })
    }

    /// Takes a slot for a request of this class. The error is 503 `overloaded`.
    fn take_slot(
        self: &Arc<Self>,
        class: PriorityClass,
        measured: bool,
    ) -> Result<InFlight, Error> {
        let allowed = (self.class_limits).for_class(class, self.current.load(Relaxed));
        let slot = self.slots.take(allowed);
        let slot = slot.ok_or_else(|| self.reject(class, ""))?;
        Ok(InFlight {
            shedder: self.clone(),
            started: Instant::now(),
            measured,
            slot: Some(slot),
        })
    }

    /// Rejects a request that holds a slot if more than `allowed` slots are taken.
    fn recheck(&self, class: PriorityClass, plan: &str, allowed: u32) -> Result<(), Error> {
        if self.slots.taken() <= allowed {
            Ok(())
        } else {
            Err(self.reject(class, plan))
        }
    }

    fn reject(&self, class: PriorityClass, plan: &str) -> Error {
        self.limit.lock().record_rejection();
        self.shared.metrics.shed(class.as_str(), plan);
        self.overloaded(format_args!("no slot for {} {plan}", class.as_str()))
    }

    fn overloaded(&self, cause: fmt::Arguments<'_>) -> Error {
        let seconds = 1 + self.shared.env.random() % MAX_RETRY_SECONDS;
        Error::new(codes::OVERLOADED, codes::OVERLOADED.meaning())
            .with_retry_after(Some(Duration::from_secs(seconds)))
            .with_cause(cause)
    }

    fn record_outcome(&self, now: Instant, outcome: RequestOutcome) {
        let in_flight = self.slots.taken();
        let mut limit = self.limit.lock();
        if limit.record_outcome(now, outcome, in_flight) {
            self.current.store(limit.current(), Relaxed);
        }
    }
}

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
        let measured = !streams || request.body().is_end_stream();
        let in_flight = self.take_slot(intent.class(), measured)?;
        let stream = streams.then(|| self.take_stream_slot(intent.class()));
        let stream = stream.transpose()?;
        let ticket = AdmissionTicket {
            shedder: self.clone(),
            intent,
        };
        if options.write_detection == WriteDetection::ByBody {
            request.extensions_mut().insert(ticket.clone());
        }
        Ok(Admission {
            in_flight,
            ticket,
            stream,
        })
    }
}

/// The slots of an admitted request.
pub(in crate::inbound) struct Admission {
    in_flight: InFlight,
    ticket: AdmissionTicket,
    /// The slot of a streaming response.
    stream: Option<Slot>,
}

impl Admission {
    /// The ticket for a second check, when more about the request is known.
    pub(in crate::inbound) fn ticket(&self) -> &AdmissionTicket {
        &self.ticket
    }

    /// Records the outcome. Returns the slot to hold until the body is sent.
    pub(in crate::inbound) fn finish(self, response: &Response) -> Option<Slot> {
        let slot = self.in_flight.finish(response);
        self.stream.or(slot)
    }
}

/// A request in progress. A drop without a response means that the client has disconnected.
struct InFlight {
    shedder: Arc<LoadShedder>,
    started: Instant,
    /// Whether the latency counts: it does not if the client streams its body.
    measured: bool,
    slot: Option<Slot>,
}

impl InFlight {
    /// Records the outcome and returns the slot.
    fn finish(mut self, response: &Response) -> Option<Slot> {
        let now = Instant::now();
        let elapsed = now - self.started;
        let slot = self.slot.take();
        if !self.measured {
            return slot;
        }
        let code = response.extensions().get::<Error>().map(Error::code);
        let dropped = [codes::DEADLINE, codes::TIMEOUT, codes::OVERLOADED];
        if code.is_some_and(|code| dropped.contains(&code)) {
            (self.shedder).record_outcome(now, RequestOutcome::Dropped(elapsed));
        } else if !response.status().is_client_error() && !response.status().is_server_error() {
            (self.shedder).record_outcome(now, RequestOutcome::Completed(elapsed));
        }
        // Other failures are not caused by load and usually immediate, so they are not recorded.
        slot
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.slot.is_some() && self.measured {
            let now = Instant::now();
            let outcome = RequestOutcome::Disconnected(now - self.started);
            self.shedder.record_outcome(now, outcome);
        }
    }
}

/// Repeats the admission check when more about the request is known than its headers.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionTicket {
    shedder: Arc<LoadShedder>,
    intent: Intent,
}

impl AdmissionTicket {
    /// Repeats the check after authentication, with the caller's plan.
    pub(crate) fn recheck_plan(&self, plan: Option<&str>) -> Result<(), Error> {
        let class = self.intent.class();
        if class != PriorityClass::SignedIn || self.shedder.class_limits.plans.is_empty() {
            return Ok(());
        }
        let current = self.shedder.current.load(Relaxed);
        let allowed = self.shedder.class_limits.for_plan(plan, current);
        (self.shedder).recheck(class, plan.unwrap_or_default(), allowed)
    }

    /// Repeats the check for a request whose body proves to be a read.
    #[cfg(feature = "graphql")]
    pub(crate) fn recheck_as_read(&self) -> Result<(), Error> {
        let class = self.intent.as_read().class();
        if class == self.intent.class() {
            return Ok(());
        }
        let current = self.shedder.current.load(Relaxed);
        let allowed = self.shedder.class_limits.for_class(class, current);
        self.shedder.recheck(class, "", allowed)
    }
}
