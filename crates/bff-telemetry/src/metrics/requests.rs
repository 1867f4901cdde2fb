//! What is counted of requests.

use std::time::Duration;

use opentelemetry::metrics::{BoundHistogram, Histogram};
use opentelemetry::{Key, KeyValue};

use super::series::SeriesCache;

// Names of the semantic conventions where they have one.
const METHOD: Key = Key::from_static_str("http.request.method");
const ROUTE: Key = Key::from_static_str("http.route");
const STATUS: Key = Key::from_static_str("http.response.status_code");

/// How long requests took, by method, status and route.
pub(super) struct Requests {
    took: Histogram<f64>,
    known: SeriesCache<(&'static str, u16, Box<str>), BoundHistogram<f64>>,
}

impl Requests {
    pub(super) fn new(took: Histogram<f64>) -> Self {
        Self {
            took,
            known: SeriesCache::default(),
        }
    }

    /// Counts and times one answered request; `route` is a template, never a path.
    pub(super) fn ended(&self, method: &str, route: &str, status: u16, took: Duration) {
        let method = known(method);
        let is = |(m, s, r): &(&str, u16, Box<str>)| (*m, *s, &**r).cmp(&(method, status, route));
        let new = || {
            let attributes = [
                KeyValue::new(METHOD, method),
                KeyValue::new(ROUTE, route.to_owned()),
                KeyValue::new(STATUS, i64::from(status)),
            ];
            let series = self.took.bind(&attributes);
            ((method, status, route.into()), series)
        };
        let took = took.as_secs_f64();
        self.known.count(is, new, |series| series.record(took));
    }
}

/// A method of RFC 9110 or 5789, else the conventions' `_OTHER`: a client may send any word as its method.
fn known(method: &str) -> &'static str {
    const METHODS: [&str; 9] = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE",
    ];
    let found = METHODS.into_iter().find(|known| *known == method);
    found.unwrap_or("_OTHER")
}
