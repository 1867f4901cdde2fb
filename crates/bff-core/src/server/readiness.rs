//! Whether this replica wants traffic. A backend that is down never changes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Starting, ready, or draining. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    state: Arc<AtomicU8>,
    leaving: CancellationToken,
}

impl Readiness {
    /// Starting. `leaving` is for who has to know that it leaves.
    pub(crate) fn new(leaving: CancellationToken) -> Self {
        Self {
            state: Arc::new(AtomicU8::new(STARTING)),
            leaving,
        }
    }

    /// Start-up has finished.
    pub(crate) fn started(&self) {
        let _ =
            (self.state).compare_exchange(STARTING, READY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Told to stop: there is no way back.
    pub(crate) fn drain(&self) {
        self.state.store(DRAINING, Ordering::Relaxed);
    }

    /// The listener is closed: what would never end by itself ends now.
    pub(crate) fn begin_shutdown(&self) {
        self.leaving.cancel();
    }

    /// Cancelled by [`Self::leave`].
    pub(crate) fn shutdown_token(&self) -> CancellationToken {
        self.leaving.clone()
    }

    /// Whether traffic is wanted.
    pub(crate) fn is_ready(&self) -> bool {
        self.state.load(Ordering::Relaxed) == READY
    }

    /// The state in a word.
    pub(crate) fn as_str(&self) -> &'static str {
        match self.state.load(Ordering::Relaxed) {
            STARTING => "starting",
            READY => "ready",
            _ => "draining",
        }
    }
}
