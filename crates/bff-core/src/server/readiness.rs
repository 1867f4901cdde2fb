//! The state of this replica: whether it accepts traffic. A failed backend does not change it.

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
    draining: CancellationToken,
    shutdown: CancellationToken,
}

impl Readiness {
    /// The state "starting". [`Self::begin_shutdown`] cancels `shutdown`.
    pub(crate) fn new(shutdown: CancellationToken) -> Self {
        Self {
            state: Arc::new(AtomicU8::new(STARTING)),
            draining: CancellationToken::new(),
            shutdown,
        }
    }

    /// Records that start-up has finished.
    pub(crate) fn started(&self) {
        let _ =
            (self.state).compare_exchange(STARTING, READY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records that the stop signal arrived. From now on readiness fails, and each response closes its connection.
    pub(crate) fn drain(&self) {
        self.state.store(DRAINING, Ordering::Relaxed);
        self.draining.cancel();
    }

    /// Ends long-lived streams, because the listener closes.
    pub(crate) fn begin_shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Cancelled by [`Self::drain`].
    pub(crate) fn draining_token(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Cancelled by [`Self::begin_shutdown`].
    pub(crate) fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Whether the replica accepts traffic.
    pub(crate) fn is_ready(&self) -> bool {
        self.state.load(Ordering::Relaxed) == READY
    }

    /// The name of the state.
    pub(crate) fn as_str(&self) -> &'static str {
        match self.state.load(Ordering::Relaxed) {
            STARTING => "starting",
            READY => "ready",
            _ => "draining",
        }
    }
}
