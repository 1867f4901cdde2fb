//! Everything the backends of one set share: clock, draws, watch posts and their changing data.

use crate::backend::Backend;
use crate::clock::Clock;
use crate::draw::Draw;
use crate::faults::Fault;
use crate::mocks::Options;
use crate::watch::Probe;
use crate::{auth, order, payment, playback, review, user};

/// The state behind every router of one [`crate::Mocks`].
pub(crate) struct World {
    pub(crate) issuer: String,
    pub(crate) clock: Clock,
    pub(crate) draw: Draw,
    pub(crate) auth: auth::State,
    pub(crate) user: user::State,
    pub(crate) order: order::State,
    pub(crate) payment: payment::State,
    pub(crate) review: review::State,
    pub(crate) playback: playback::State,
    probes: [Probe; 8],
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            issuer: options.issuer,
            clock: Clock::new(options.epoch),
            draw: Draw(options.seed),
            auth: auth::State::default(),
            user: user::State::default(),
            order: order::State::default(),
            payment: payment::State::default(),
            review: review::State::default(),
            playback: playback::State::default(),
            probes: Default::default(),
        }
    }

    pub(crate) fn probe(&self, backend: Backend) -> &Probe {
        &self.probes[backend.index()]
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
