//! Everything the backends of one set share: clock, draws, watch posts and their changing data.

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
    pub(crate) draw: SeededRng,
    pub(crate) auth: auth::State,
    pub(crate) user: user::State,
    pub(crate) order: order::State,
    pub(crate) payment: payment::State,
    pub(crate) review: review::State,
    pub(crate) playback: playback::State,
    probes: [CallRecorder; 8],
    /// How many calls there were, at all backends.
    calls: AtomicU64,
    witness: OnceLock<CallObserver>,
}

impl MockState {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            issuer: options.issuer,
            clock: Clock::new(options.epoch),
            draw: SeededRng(options.seed),
            auth: auth::State::default(),
            user: user::State::default(),
            order: order::State::default(),
            payment: payment::State::default(),
            review: review::State::default(),
            playback: playback::State::default(),
            probes: Default::default(),
            calls: AtomicU64::new(0),
            witness: OnceLock::new(),
        }
    }

    pub(crate) fn probe(&self, backend: Backend) -> &CallRecorder {
        &self.probes[backend.index()]
    }

    /// The number of a call that arrives.
    pub(crate) fn arrived(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells whoever watches, if anybody does.
    pub(crate) fn tell(&self, backend: Backend, call: u64, moment: CallEvent<'_>) {
        if let Some(witness) = self.witness.get() {
            witness(backend, call, moment);
        }
    }

    /// Nobody may have been named before.
    pub(crate) fn watched_by(&self, witness: CallObserver) -> Result<(), &'static str> {
        let named = self.witness.set(witness);
        named.map_err(|_| "somebody watches these backends already")
    }

    pub(crate) fn set_fault(&self, backend: Backend, fault: Fault) -> Result<(), String> {
        fault.check()?;
        self.probe(backend).faults.lock().set(fault);
        Ok(())
    }

    pub(crate) fn clear_faults(&self, backend: Option<Backend>) {
        for one in Backend::ALL
            .into_iter()
            .filter(|b| backend.is_none_or(|only| only == *b))
        {
            self.probe(one).faults.lock().clear();
        }
    }

    pub(crate) fn clear_stats(&self) {
        for backend in Backend::ALL {
            self.probe(backend).counters.lock().clear();
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
