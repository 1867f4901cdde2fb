//! Too much at once: who is let in is answered in time, and who is not is told so before any work is done.
//!
//! A request takes a slot or is refused with 503 `overloaded` and `Retry-After`, at once. Nothing waits for a slot: a
//! queue here would make everybody late by its length and let nobody in who would otherwise be refused for long; what
//! little waiting keeps the backends busy is in the limit already, which is about twice what they work on. How many
//! slots there are is measured ([`limit`]); how far they may be filled depends on what a request is for ([`Class`],
//! [`Shares`]).
//!
//! What a request is for is judged by its head. What turns out later is judged again, against the same slots: the plan
//! of a caller once the credential is proven (`Standing::is_of_plan`), and a read among what may be writes once the
//! body is parsed (`Standing::is_a_read`). Both come before any call to a backend.
//!
//! The slot is held to the end of the answer's body, for a long one is work to its end; of a stream to its head only,
//! for a listener who is told something now and then is none. Streams have slots of their own beside that, a fixed
//! number, held to their end. Where the client's body streams too, the time to the head is the client's as much as
//! ours and teaches nothing. Health and pages are no doors and take no slot.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http_body::Body as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::GatewayHandles;
use crate::auth::Authenticator;
use crate::error::{Error, codes};
use crate::inbound::endpoints::{EndpointOptions, WriteDetection};
use crate::net;
use concurrency_limit::{AdaptiveConcurrencyLimit, RequestOutcome};
use intent::Intent;
use slots::Slots;

pub use intent::PriorityClass;
pub use shares::Shares;
pub(in crate::inbound) use slots::Slot;

pub mod concurrency_limit;
mod intent;
mod shares;
mod slots;

/// `Retry-After` is from one to so many seconds, by chance: those who were refused together do not return together.
const RETRY_SECONDS: u64 = 3;

/// How many requests are worked on at once, and who goes first when there are more.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many answers may stream at once: events, and whatever is passed on. Default 5000: half the connections that
    /// there may be, so that listeners leave the other half to those who ask. A `WebSocket` counts among those.
    pub max_streams: NonZeroU32,
    /// Between which bounds the number is found.
    pub concurrency_limit: concurrency_limit::Config,
    /// Which part of it each class of requests may fill.
    pub class_limits: Shares,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_streams: NonZeroU32::new(5000).unwrap_or(NonZeroU32::MIN),
            concurrency_limit: concurrency_limit::Config::default(),
            class_limits: Shares::default(),
        }
    }
}

/// The shedding of one gateway.
#[derive(Debug)]
pub(crate) struct LoadShedder {
    slots: Arc<Slots>,
    streams: Arc<Slots>,
    max_streams: u32,
    /// What [`Limit`] says at the moment, to be read without its lock.
    current: Arc<AtomicU32>,
    limit: Mutex<AdaptiveConcurrencyLimit>,
    shares: Shares,
    shared: Arc<GatewayHandles>,
}

impl LoadShedder {
    /// All slots free. The error is one line that names the key of a mistake.
    pub(crate) fn new(config: &Config, shared: &Arc<GatewayHandles>) -> Result<Arc<Self>, String> {
        let wrong = |key: &str, line: String| format!("inbound.load_shedding.{key}.{line}");
        (config.concurrency_limit.check()).map_err(|line| wrong("concurrency_limit", line))?;
        (config.class_limits.check()).map_err(|line| wrong("class_limits", line))?;
        let limit = AdaptiveConcurrencyLimit::new(&config.concurrency_limit, Instant::now());
        let current = Arc::new(AtomicU32::new(limit.current()));
        let slots = Arc::new(Slots::default());
        let streams = Arc::new(Slots::default());
        let (of_limit, of_slots, of_streams) = (current.clone(), slots.clone(), streams.clone());
        shared.metrics.gauge(
            "bff.concurrency.limit",
            "How many requests may be worked on at once now.",
            move || u64::from(of_limit.load(Relaxed)),
        );
        shared.metrics.gauge(
            "bff.requests.in_flight",
            "How many requests hold a slot of that limit now.",
            move || u64::from(of_slots.taken()),
        );
        shared.metrics.gauge(
            "bff.active_streams",
            "How many answers stream now.",
            move || u64::from(of_streams.taken()),
        );
        Ok(Arc::new(Self {
            slots,
            streams,
            max_streams: config.max_streams.get(),
            current,
            limit: Mutex::new(limit),
            shares: config.class_limits.clone(),
            shared: shared.clone(),
        }))
    }

    /// A slot for an answer that streams, or the refusal.
    fn stream(&self, class: PriorityClass) -> Result<Slot, Error> {
        let slot = self.streams.take(self.max_streams);
        slot.ok_or_else(|| {
            self.shared.metrics.shed(class.as_str(), "");
            self.overloaded(format_args!("max_streams answers stream"))
        })
    }

    /// A slot for a request of this class, or the refusal. `timed` is one whose time is ours.
    fn enter(self: &Arc<Self>, class: PriorityClass, timed: bool) -> Result<InFlight, Error> {
        let allowed = self.shares.of(class, self.current.load(Relaxed));
        let slot = self.slots.take(allowed);
        let slot = slot.ok_or_else(|| self.refusal(class, ""))?;
        Ok(InFlight {
            shed: self.clone(),
            began: net::now(),
            timed,
            slot: Some(slot),
        })
    }

    /// Whether a request that holds a slot may keep it, now that it may fill only up to `allowed`.
    fn recheck(&self, class: PriorityClass, plan: &str, allowed: u32) -> Result<(), Error> {
        if self.slots.taken() <= allowed {
            Ok(())
        } else {
            Err(self.refusal(class, plan))
        }
    }

    fn refusal(&self, class: PriorityClass, plan: &str) -> Error {
        self.limit.lock().refused();
        self.shared.metrics.shed(class.as_str(), plan);
        self.overloaded(format_args!("no slot for {} {plan}", class.as_str()))
    }

    fn overloaded(&self, why: fmt::Arguments<'_>) -> Error {
        let seconds = 1 + self.shared.env.random() % RETRY_SECONDS;
        Error::new(codes::OVERLOADED, codes::OVERLOADED.meaning())
            .with_retry_after(Some(Duration::from_secs(seconds)))
            .with_cause(why)
    }

    fn ended(&self, now: Instant, ended: RequestOutcome) {
        let in_flight = self.slots.taken();
        let mut limit = self.limit.lock();
        if limit.ended(now, ended, in_flight) {
            self.current.store(limit.current(), Relaxed);
        }
    }
}

impl LoadShedder {
    /// Takes what a request that comes through a door needs to be worked on, or refuses it.
    pub(in crate::inbound) fn admit(
        self: &Arc<Self>,
        door: &EndpointOptions,
        request: &mut Request,
    ) -> Result<Admission, Error> {
        let (method, headers) = (request.method(), request.headers());
        let credential = Authenticator::has_credential(headers);
        let intent = Intent::of(method, headers, door, credential);
        let streams = door.stream_idle.is_some();
        let timed = !streams || request.body().is_end_stream();
        let working = self.enter(intent.class(), timed)?;
        let stream = streams.then(|| self.stream(intent.class()));
        let stream = stream.transpose()?;
        let standing = AdmissionTicket {
            shed: self.clone(),
            intent,
        };
        if door.write_detection == WriteDetection::ByBody {
            request.extensions_mut().insert(standing.clone());
        }
        Ok(Admission {
            working,
            standing,
            stream,
        })
    }
}

/// What a request holds of the gateway's room.
pub(in crate::inbound) struct Admission {
    working: InFlight,
    standing: AdmissionTicket,
    /// Of an answer that streams.
    stream: Option<Slot>,
}

impl Admission {
    /// Where the request stands among the others.
    pub(in crate::inbound) fn standing(&self) -> &AdmissionTicket {
        &self.standing
    }

    /// Gives up what an answer needs no longer; what comes back is to be held to the end of its body.
    pub(in crate::inbound) fn finish(self, response: &Response) -> Option<Slot> {
        let slot = self.working.answered(response);
        self.stream.or(slot)
    }
}

/// A request in progress. Dropped without an answer, its client has left.
struct InFlight {
    shed: Arc<LoadShedder>,
    began: Instant,
    /// Whether its time is ours, and not that of a client who sends a body meanwhile.
    timed: bool,
    slot: Option<Slot>,
}

impl InFlight {
    /// Notes how the request ended; gives the slot on to whoever holds the body.
    fn answered(mut self, response: &Response) -> Option<Slot> {
        let now = Instant::now();
        let took = now - self.began;
        let slot = self.slot.take();
        if !self.timed {
            return slot;
        }
        let code = response.extensions().get::<Error>().map(Error::code);
        let lost = [codes::DEADLINE, codes::TIMEOUT, codes::OVERLOADED];
        if code.is_some_and(|code| lost.contains(&code)) {
            self.shed.ended(now, RequestOutcome::Lost(took));
        } else if !response.status().is_client_error() && !response.status().is_server_error() {
            self.shed.ended(now, RequestOutcome::Completed(took));
        }
        // Any other failure came of something else than load, and usually at once.
        slot
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.slot.is_some() && self.timed {
            let now = Instant::now();
            self.shed
                .ended(now, RequestOutcome::Disconnected(now - self.began));
        }
    }
}

/// Where a request stands among the others, for whoever learns more of it than its head said.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionTicket {
    shed: Arc<LoadShedder>,
    intent: Intent,
}

impl AdmissionTicket {
    /// The credential is good, and its holder is on this plan.
    pub(crate) fn recheck_plan(&self, plan: Option<&str>) -> Result<(), Error> {
        let class = self.intent.class();
        if class != PriorityClass::SignedIn || self.shed.shares.plans.is_empty() {
            return Ok(());
        }
        let current = self.shed.current.load(Relaxed);
        let allowed = self.shed.shares.of_plan(plan, current);
        self.shed.recheck(class, plan.unwrap_or_default(), allowed)
    }

    /// The body says that the request changes nothing.
    #[cfg(feature = "graphql")]
    pub(crate) fn recheck_as_read(&self) -> Result<(), Error> {
        let class = self.intent.read().class();
        if class == self.intent.class() {
            return Ok(());
        }
        let current = self.shed.current.load(Relaxed);
        let allowed = self.shed.shares.of(class, current);
        self.shed.recheck(class, "", allowed)
    }
}
