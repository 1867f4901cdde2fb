//! Statistics of the calls to a backend, for assertions in tests.

use std::collections::BTreeMap;

use http::HeaderMap;
use serde::Serialize;

/// The maximum number of counted routes; further ones count as `other`. A path without a route counts as its own route.
const MAX_ROUTES: usize = 500;

/// The statistics of one backend since its start or the last `DELETE /stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// The number of calls, including failed ones.
    pub calls: u64,
    /// The number of calls that the client cancelled before the end of the response.
    pub cancelled: u64,
    /// The number of calls in flight.
    pub in_flight: u64,
    /// The maximum number of calls in flight.
    pub peak_in_flight: u64,
    /// The headers of the last call. Repeated headers are joined with commas.
    pub last_headers: BTreeMap<String, String>,
    /// The number of calls by route template; for gRPC and unknown routes, by path.
    pub routes: BTreeMap<String, u64>,
}

/// The counters behind [`Stats`].
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
    pub(crate) fn call_started(&mut self, route: &str, headers: &HeaderMap) {
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

    pub(crate) fn call_ended(&mut self, cancelled: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.cancelled += u64::from(cancelled);
    }

    /// Resets the counters, except for the calls in flight.
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
