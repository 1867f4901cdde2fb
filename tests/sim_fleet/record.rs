//! What really happened between gateways and backends, and when: what answers are held against.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use services_mock::{Backend, CallEvent};
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

/// One call as its backend saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) backend: Backend,
    /// Method and path.
    pub(crate) line: String,
    pub(crate) at: Duration,
    /// When it was over; none while it goes on.
    pub(crate) left: Option<Duration>,
    /// Of which request it said that it was a part.
    pub(crate) request: String,
    /// For whom, if for anybody.
    pub(crate) user: Option<String>,
    /// The time it was given.
    pub(crate) within: Option<Duration>,
}

impl Called {
    /// Whether it was made for whoever asked, and for nobody else: what is the same for all is asked for without a name.
    pub(crate) fn is_for(&self, asker: Option<&str>) -> bool {
        let public = [Backend::Product, Backend::Review, Backend::Inventory];
        let user = self.user.as_deref();
        user.is_none() || user == asker && !public.contains(&self.backend)
    }

    /// Whether it was given a time, and no more than was left until `end`.
    pub(crate) fn ends_by(&self, end: Duration) -> bool {
        let left = end.saturating_sub(self.at).max(Duration::from_millis(1));
        self.within.is_some_and(|within| within <= left)
    }
}

/// Every connection that broke, and every call that arrived. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    began: Instant,
    broke: Arc<Mutex<Vec<Broke>>>,
    calls: Arc<Mutex<BTreeMap<u64, Called>>>,
}

impl Record {
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            broke: Arc::default(),
            calls: Arc::default(),
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

    /// A backend says what became of a call.
    pub(crate) fn hear(&self, backend: Backend, call: u64, moment: CallEvent<'_>) {
        let (mut calls, at) = (self.calls.lock(), self.now());
        match moment {
            CallEvent::Arrived {
                method,
                path,
                headers,
            } => {
                let called = Called {
                    backend,
                    line: format!("{method} {path}"),
                    at,
                    left: None,
                    request: text(headers, "x-request-id").unwrap_or_default(),
                    user: text(headers, "x-user-id"),
                    within: within(headers),
                };
                calls.insert(call, called);
            }
            CallEvent::Ended => {
                if let Some(called) = calls.get_mut(&call) {
                    called.left = Some(at);
                }
            }
        }
    }

    /// What broke at `place` within a time, its ends included.
    pub(crate) fn within(&self, place: &str, from: Duration, until: Duration) -> Vec<How> {
        let broke = self.broke.lock();
        let here = broke.iter().filter(|b| b.place == place);
        let here = here.filter(|b| (from..=until).contains(&b.at));
        here.map(|b| b.how).collect()
    }

    /// Every call so far, in the order in which they arrived.
    pub(crate) fn calls(&self) -> Vec<Called> {
        self.calls.lock().values().cloned().collect()
    }

    /// Those that were made for one request.
    pub(crate) fn calls_of(&self, request: &str) -> Vec<Called> {
        let calls = self.calls.lock();
        let own = calls.values().filter(|c| c.request == request);
        own.cloned().collect()
    }

    /// Whether some call satisfies all of it.
    pub(crate) fn saw(&self, wanted: impl Fn(&Called) -> bool) -> bool {
        self.calls.lock().values().any(wanted)
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(value.to_str().unwrap_or("not text").to_owned())
}

/// The time that is left, as either protocol tells it.
fn within(headers: &HeaderMap) -> Option<Duration> {
    if let Some(millis) = text(headers, "request-timeout") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    let told = text(headers, "grpc-timeout")?;
    let (number, unit) = told.split_at(told.len().checked_sub(1)?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}
