//! What reached a backend: counted so that tests can assert on it.

use std::collections::BTreeMap;

use http::HeaderMap;
use serde::Serialize;

/// The most routes told apart; a path no route has counts by itself until then.
const MAX_ROUTES: usize = 500;

/// The counts of one backend since it started or since `DELETE /stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Calls that arrived, failing ones included.
    pub calls: u64,
    /// Calls whose caller left before the end of the answer.
    pub cancelled: u64,
    /// Calls being answered now.
    pub in_flight: u64,
    /// The most that were being answered at once.
    pub peak_in_flight: u64,
    /// The headers of the latest call; a repeated header is joined by commas.
    pub last_headers: BTreeMap<String, String>,
    /// Calls by route template; gRPC and unknown routes by path.
    pub routes: BTreeMap<String, u64>,
}

/// The running counts behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    calls: u64,
    cancelled: u64,
    in_flight: u64,
    peak: u64,
    last: HeaderMap,
    routes: BTreeMap<String, u64>,
}

impl Counters {
    pub(crate) fn arrived(&mut self, route: &str, headers: &HeaderMap) {
        self.calls += 1;
        self.in_flight += 1;
        self.peak = self.peak.max(self.in_flight);
        self.last.clone_from(headers);
        if let Some(count) = self.routes.get_mut(route) {
            *count += 1;
        } else {
            let route = if self.routes.len() < MAX_ROUTES {
                route
            } else {
                "other"
            };
            *self.routes.entry(route.to_owned()).or_default() += 1;
        }
    }

    pub(crate) fn left(&mut self, cancelled: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.cancelled += u64::from(cancelled);
    }

    /// Back to nothing, except for the calls that are still here.
    pub(crate) fn clear(&mut self) {
        let in_flight = self.in_flight;
        *self = Self {
            in_flight,
            peak: in_flight,
            ..Self::default()
        };
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            calls: self.calls,
            cancelled: self.cancelled,
            in_flight: self.in_flight,
            peak_in_flight: self.peak,
            last_headers: self
                .last
                .keys()
                .map(|name| (name.to_string(), joined(&self.last, name)))
                .collect(),
            routes: self.routes.clone(),
        }
    }
}

fn joined(headers: &HeaderMap, name: &http::HeaderName) -> String {
    let values = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.collect::<Vec<_>>().join(", ")
}
