//! The slots and the limit of one gateway.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::class_limits::ClassLimits;
use super::concurrency_limit::{AdaptiveConcurrencyLimit, RequestOutcome};
use super::config::Config;
use super::intent::PriorityClass;
use super::slots::{Slot, Slots};
use crate::GatewayHandles;
use crate::error::{Error, codes};

/// `Retry-After` is a random number of seconds from 1 to this, so that rejected clients do not return at the same time.
const MAX_RETRY_SECONDS: u64 = 3;

/// The load shedder of one gateway.
#[derive(Debug)]
pub(crate) struct LoadShedder {
    pub(super) slots: Arc<Slots>,
    streams: Arc<Slots>,
    max_streams: u32,
    /// A copy of [`AdaptiveConcurrencyLimit::current`], to read it without the lock.
    pub(super) current: Arc<AtomicU32>,
    limit: Mutex<AdaptiveConcurrencyLimit>,
    /// The gateway's deadline of a request.
    pub(super) deadline: Duration,
    pub(super) class_limits: ClassLimits,
    shared: Arc<GatewayHandles>,
}

impl LoadShedder {
    /// Creates a shedder with all slots free. The error is one line that names the wrong key.
    pub(crate) fn new(
        config: &Config,
        deadline: Duration,
        shared: &Arc<GatewayHandles>,
    ) -> Result<Arc<Self>, String> {
        let wrong = |key: &str, line: String| format!("inbound.load_shedding.{key}.{line}");
        (config.concurrency_limit.check()).map_err(|line| wrong("concurrency_limit", line))?;
        (config.class_limits.check()).map_err(|line| wrong("class_limits", line))?;
        let limit =
            AdaptiveConcurrencyLimit::new(&config.concurrency_limit, deadline, Instant::now());
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
            deadline,
            class_limits: config.class_limits.clone(),
            shared: shared.clone(),
        }))
    }

    /// Takes a slot for a streaming response. The error is 503 `overloaded`.
    pub(super) fn take_stream_slot(&self, class: PriorityClass) -> Result<Slot, Error> {
        let slot = self.streams.take(self.max_streams);
        slot.ok_or_else(|| {
            self.shared.metrics.shed(class.as_str(), "");
            self.overloaded(format_args!("max_streams reached"))
        })
    }

    /// Takes a slot for a request of this class. The error is 503 `overloaded`.
    pub(super) fn take_slot(&self, class: PriorityClass) -> Result<Slot, Error> {
        let allowed = (self.class_limits).for_class(class, self.current.load(Relaxed));
        let slot = self.slots.take(allowed);
        slot.ok_or_else(|| self.reject(class, ""))
    }

    /// Counts a rejection, and returns its error.
    pub(super) fn reject(&self, class: PriorityClass, plan: &str) -> Error {
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

    /// Records the outcome of a request that still holds its slot.
    pub(super) fn record_outcome(&self, now: Instant, outcome: RequestOutcome) {
        let in_flight = self.slots.taken();
        let mut limit = self.limit.lock();
        if limit.record_outcome(now, outcome, in_flight) {
            self.current.store(limit.current(), Relaxed);
        }
    }
}
