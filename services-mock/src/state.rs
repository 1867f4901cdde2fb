//! The state that all backends of one set share: clock, random numbers, call recorders and data.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::Backend;
use crate::call_recorder::{CallEvent, CallObserver, CallRecorder};
use crate::clock::Clock;
use crate::faults::Fault;
use crate::mocks::Options;
use crate::seeded_rng::SeededRng;
use crate::{auth, order, payment, playback, review, user};

/// The state behind every router of one [`crate::Mocks`].
pub(crate) struct MockState {
    pub(crate) issuer: String,
    pub(crate) clock: Clock,
    pub(crate) rng: SeededRng,
    pub(crate) auth: auth::State,
    pub(crate) user: user::State,
    pub(crate) order: order::State,
    pub(crate) payment: payment::State,
    pub(crate) review: review::State,
    pub(crate) playback: playback::State,
    recorders: [CallRecorder; 8],
    /// The number of calls to all backends.
    calls: AtomicU64,
    observer: OnceLock<CallObserver>,
}

impl MockState {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            issuer: options.issuer,
            clock: Clock::new(options.epoch),
            rng: SeededRng(options.seed),
            auth: auth::State::default(),
            user: user::State::default(),
            order: order::State::default(),
            payment: payment::State::default(),
            review: review::State::default(),
            playback: playback::State::default(),
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
