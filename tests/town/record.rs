//! What really broke between gateways and backends, and when: what answers are held against.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How a connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Nobody listened, or the seed said so.
    Refused,
    /// It ended in the middle.
    Cut,
}

/// One connection that broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broke {
    pub(crate) at: Duration,
    pub(crate) place: String,
    pub(crate) how: How,
}

/// Every connection that broke. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    began: Instant,
    broke: Arc<Mutex<Vec<Broke>>>,
}

impl Record {
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            broke: Arc::default(),
        }
    }

    /// Time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A connection to `place` (a name, or its address) broke.
    pub(crate) fn note(&self, place: &str, how: How) {
        let place = place.split('.').next().unwrap_or_default().to_owned();
        let at = self.now();
        self.broke.lock().push(Broke { at, place, how });
    }

    /// What broke at `place` within a time, its ends included.
    pub(crate) fn within(&self, place: &str, from: Duration, until: Duration) -> Vec<How> {
        let broke = self.broke.lock();
        let here = broke.iter().filter(|b| b.place == place);
        let here = here.filter(|b| (from..=until).contains(&b.at));
        here.map(|b| b.how).collect()
    }
}
