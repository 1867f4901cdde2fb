//! The metrics of requests.

use std::time::Duration;

use opentelemetry::metrics::{BoundHistogram, Histogram};
use opentelemetry::{Key, KeyValue};

use super::series::SeriesCache;

// Names from the OpenTelemetry semantic conventions.
const METHOD: Key = Key::from_static_str("http.request.method");
const ROUTE: Key = Key::from_static_str("http.route");
const STATUS: Key = Key::from_static_str("http.response.status_code");

/// The duration of requests, by method, status and route.
pub(super) struct Requests {
    duration: Histogram<f64>,
    series: SeriesCache<(&'static str, u16, Box<str>), BoundHistogram<f64>>,
}

impl Requests {
    pub(super) fn new(duration: Histogram<f64>) -> Self {
        Self {
            duration,
            series: SeriesCache::default(),
        }
    }

    /// Records one request. `route` is a template, not a path.
    pub(super) fn record(&self, method: &str, route: &str, status: u16, duration: Duration) {
        let method = method_label(method);
        let compare =
            |(m, s, r): &(&str, u16, Box<str>)| (*m, *s, &**r).cmp(&(method, status, route));
        let new = || {
            let attributes = [
                KeyValue::new(METHOD, method),
                KeyValue::new(ROUTE, route.to_owned()),
                KeyValue::new(STATUS, i64::from(status)),
            ];
            let series = self.duration.bind(&attributes);
            ((method, status, route.into()), series)
        };
        let duration = duration.as_secs_f64();
        self.series
            .record(compare, new, |series| series.record(duration));
    }
}

/// The label for a method: one of RFC 9110 or RFC 5789, else `_OTHER`, because a client can send any token.
fn method_label(method: &str) -> &'static str {
    const METHODS: [&str; 9] = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE",
    ];
    let standard = METHODS.into_iter().find(|name| *name == method);
    standard.unwrap_or("_OTHER")
}
