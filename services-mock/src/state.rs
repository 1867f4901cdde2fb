//! The state of one set of mocks: clock, random numbers, call recorders, and the data of each backend.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use time::OffsetDateTime;

use crate::backend::Backend;
use crate::call_recorder::{CallEvent, CallObserver, CallRecorder};
use crate::clock::Clock;
use crate::faults::Fault;
use crate::seeded_rng::SeededRng;
use crate::{auth, order, payment, playback, review, user};

/// The options of a set of mocks.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of all random numbers: fault rates, jitter, ids, opaque tokens.
    pub seed: u64,
    /// The `iss` claim of every token, and the base of the URLs in the discovery document.
    pub issuer: String,
    /// The wall time at creation. After that, tokio's clock advances it.
    pub epoch: OffsetDateTime,
}

/// The state behind every router of one [`crate::Mocks`].
pub(crate) struct MockState {
    pub(crate) clock: Clock,
    pub(crate) rng: SeededRng,
    pub(crate) auth: Arc<auth::State>,
    pub(crate) user: Arc<user::State>,
    pub(crate) order: Arc<order::State>,
    pub(crate) payment: Arc<payment::State>,
    pub(crate) review: Arc<review::State>,
    pub(crate) playback: Arc<playback::State>,
    recorders: [CallRecorder; 8],
    /// The number of calls to all backends.
    calls: AtomicU64,
    observer: OnceLock<CallObserver>,
}

impl MockState {
    pub(crate) fn new(options: Options) -> Self {
        let clock = Clock::new(options.epoch);
        let rng = SeededRng(options.seed);
        let order = Arc::new(order::State::new(clock));
        Self {
            clock,
            rng,
            auth: Arc::new(auth::State::new(options.issuer, clock, rng)),
            user: Arc::default(),
            payment: Arc::new(payment::State::new(clock, order.clone())),
            order,
            review: Arc::new(review::State::new(clock)),
            playback: Arc::new(playback::State::new(clock)),
            recorders: Default::default(),
            calls: AtomicU64::new(0),
            observer: OnceLock::new(),
        }
    }

    pub(crate) fn recorder(&self, backend: Backend) -> &CallRecorder {
        &self.recorders[backend.index()]
    }

    /// Numbers a call that has arrived.
    pub(crate) fn next_call_number(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Passes an event to the observer, if there is one.
    pub(crate) fn notify_observer(&self, backend: Backend, call: u64, event: CallEvent<'_>) {
        if let Some(observer) = self.observer.get() {
            observer(backend, call, event);
        }
    }

    /// Fails if there is an observer already.
    pub(crate) fn set_observer(&self, observer: CallObserver) -> Result<(), &'static str> {
        let result = self.observer.set(observer);
        result.map_err(|_| "these mocks have an observer already")
    }

    pub(crate) fn set_fault(&self, backend: Backend, fault: Fault) -> Result<(), String> {
        fault.check()?;
        self.recorder(backend).faults.lock().set(fault);
        Ok(())
    }

    pub(crate) fn clear_faults(&self, backend: Option<Backend>) {
        for selected in Backend::ALL
            .into_iter()
            .filter(|b| backend.is_none_or(|only| only == *b))
        {
            self.recorder(selected).faults.lock().clear();
        }
    }

    pub(crate) fn clear_stats(&self) {
        for backend in Backend::ALL {
            self.recorder(backend).counters.lock().clear();
        }
    }

    pub(crate) fn reset(&self) {
        self.auth.reset();
        self.user.reset();
        self.order.reset();
        self.payment.reset();
        self.review.reset();
        self.playback.reset();
    }
}
