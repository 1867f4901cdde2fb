//! Whether this replica wants traffic. A backend that is down never changes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Starting, ready, or draining. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// Start-up has finished.
    pub(crate) fn started(&self) {
        let _ = (self.0).compare_exchange(STARTING, READY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Told to stop: there is no way back.
    pub(crate) fn drain(&self) {
        self.0.store(DRAINING, Ordering::Relaxed);
    }

    /// Whether traffic is wanted.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed) == READY
    }

    /// The state in a word.
    pub(crate) fn as_str(&self) -> &'static str {
        match self.0.load(Ordering::Relaxed) {
            STARTING => "starting",
            READY => "ready",
            _ => "draining",
        }
    }
}
