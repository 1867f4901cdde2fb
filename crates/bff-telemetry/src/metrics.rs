//! The metrics of a gateway.
//!
//! They use the OpenTelemetry API, so a push exporter can be added without a change here.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider, UpDownCounter};
use opentelemetry::{KeyValue, StringValue};
use opentelemetry_prometheus::ResourceSelector;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

use bff_context::context::{CacheResult, Freshness, Reason};

/// The upper limits of the duration buckets, in seconds: 1 ms to 10 s.
const SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The metrics of a gateway. Cheap to clone.
///
/// Every label has a bounded set of values: names, route templates, reasons and states. After 2000 series of an
/// instrument, the SDK merges further ones into one series with the label `otel_metric_overflow`.
#[derive(Clone)]
pub struct Metrics(Arc<Instruments>);

struct Instruments {
    registry: Registry,
    /// Dropping the provider would shut down the instruments.
    _provider: SdkMeterProvider,
    meter: Meter,
    request_duration: Histogram<f64>,
    active_requests: UpDownCounter<i64>,
    websocket_connections: UpDownCounter<i64>,
    upstream_duration: Histogram<f64>,
    retries: Counter<u64>,
    omitted_items: Counter<u64>,
    sections: Counter<u64>,
    cache_lookups: Counter<u64>,
    cache_l2_lookups: Counter<u64>,
    shed: Counter<u64>,
    rate_limits: Counter<u64>,
}

impl Metrics {
    /// The metrics of the gateway for `client`, which is a label of every series.
    pub fn new(client: &str) -> Result<Self, String> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .with_resource_selector(ResourceSelector::All)
            .build()
            .map_err(|error| format!("metrics of {client}: {error}"))?;
        // An empty builder: the default one reads environment variables, and only the configuration may do that.
        let resource = Resource::builder_empty()
            .with_attribute(KeyValue::new("client", client.to_owned()))
            .build();
        let provider = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(exporter)
            .build();
        Ok(Self::with(registry, provider))
    }

    /// Metrics without an exporter, for tests that do not read them.
    pub fn noop() -> Self {
        Self::with(Registry::new(), SdkMeterProvider::builder().build())
    }

    fn with(registry: Registry, provider: SdkMeterProvider) -> Self {
        let meter = provider.meter("bff");
        let counter = |name: &'static str, description: &'static str| {
            let counter = meter.u64_counter(name);
            counter.with_description(description).build()
        };
        let up_down_counter = |name: &'static str, description: &'static str| {
            let counter = meter.i64_up_down_counter(name);
            counter.with_description(description).build()
        };
        let seconds = |name: &'static str, description: &'static str| {
            let histogram = meter.f64_histogram(name).with_unit("s");
            let histogram = histogram.with_boundaries(SECONDS.to_vec());
            histogram.with_description(description).build()
        };
        Self(Arc::new(Instruments {
            registry,
            _provider: provider,
            request_duration: seconds(
                "http.server.request.duration",
                "Duration of requests, from the first byte of the headers to the last byte of the response.",
            ),
            active_requests: up_down_counter("http.server.active_requests", "Requests in flight."),
            websocket_connections: up_down_counter(
                "bff.websocket.connections",
                "Open WebSocket connections, by backend.",
            ),
            upstream_duration: seconds(
                "bff.upstream.call.duration",
                "Duration of calls to backends, by outcome: ok, or the reason of the failure.",
            ),
            retries: counter(
                "bff.upstream.retries",
                "Additional attempts of calls, by backend and kind: retry or hedge.",
            ),
            omitted_items: counter(
                "bff.upstream.omitted_items",
                "Elements that lists of responses omit because they do not decode, by backend and route.",
            ),
            sections: counter(
                "bff.sections",
                "Sections of responses, by backend, state and reason.",
            ),
            cache_lookups: counter(
                "bff.cache.lookups",
                "Cache lookups, by outcome: hit, stale, stale_if_error, coalesced, miss or bypass.",
            ),
            cache_l2_lookups: counter(
                "bff.cache.l2.lookups",
                "Lookups in the shared cache after a local miss, by outcome: hit, hit_after_wait, miss, timeout, uncacheable or unavailable.",
            ),
            shed: counter(
                "bff.requests.shed",
                "Requests rejected by load shedding, by class, and by plan if plans have priorities.",
            ),
            rate_limits: counter(
                "bff.rate_limit.decisions",
                "Decisions of rate limit policies, by outcome: allowed, rejected, or fail_closed without a store.",
            ),
            meter,
        }))
    }

    /// Records one request. `route` is a template, not a path.
    pub fn request_ended(&self, method: &str, route: &str, status: u16, duration: Duration) {
        // Names from the OpenTelemetry semantic conventions.
        let attributes = [
            KeyValue::new("http.request.method", method_label(method)),
            KeyValue::new("http.response.status_code", i64::from(status)),
            KeyValue::new("http.route", route.to_owned()),
        ];
        (self.0.request_duration).record(duration.as_secs_f64(), &attributes);
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn request_started(&self) -> InFlightGuard {
        self.0.active_requests.add(1, &[]);
        InFlightGuard(self.clone())
    }

    /// Counts a WebSocket connection as open until the guard is dropped.
    pub fn websocket_opened(&self, upstream: &'static str) -> WebSocketGuard {
        let attributes = [KeyValue::new("upstream", upstream)];
        self.0.websocket_connections.add(1, &attributes);
        WebSocketGuard(self.clone(), attributes)
    }

    /// Records the duration of one call to a backend. `outcome` is `ok` or a reason.
    pub fn upstream_call(
        &self,
        upstream: &'static str,
        route: &'static str,
        outcome: &'static str,
        duration: Duration,
    ) {
        let attributes = [
            KeyValue::new("outcome", outcome),
            KeyValue::new("route", route),
            KeyValue::new("upstream", upstream),
        ];
        (self.0.upstream_duration).record(duration.as_secs_f64(), &attributes);
    }

    /// Counts one additional attempt of a call. `kind` is `retry` or `hedge`.
    pub fn retry(&self, upstream: &'static str, kind: &'static str) {
        let attributes = [
            KeyValue::new("kind", kind),
            KeyValue::new("upstream", upstream),
        ];
        self.0.retries.add(1, &attributes);
    }

    /// Counts the elements that the lists of one response omit.
    pub fn omitted_items(&self, upstream: &'static str, route: &'static str, omitted: u32) {
        let labels = [("route", route), ("upstream", upstream)];
        let attributes = labels.map(|(name, value)| KeyValue::new(name, value));
        self.0.omitted_items.add(omitted.into(), &attributes);
    }

    /// Counts one section of a response by its state. The label `reason` is empty without a reason.
    pub fn section(&self, source: Cow<'static, str>, state: Freshness, reason: Option<Reason>) {
        let attributes = [
            KeyValue::new("reason", reason.map_or("", Reason::as_str)),
            KeyValue::new("source", source),
            KeyValue::new("state", state.as_str()),
        ];
        self.0.sections.add(1, &attributes);
    }

    /// Counts one cache lookup by its result.
    pub fn cache_lookup(&self, upstream: &'static str, route: &'static str, result: CacheResult) {
        let attributes = [
            KeyValue::new("outcome", result.as_str()),
            KeyValue::new("route", route),
            KeyValue::new("upstream", upstream),
        ];
        self.0.cache_lookups.add(1, &attributes);
    }

    /// Counts one lookup in the cache that replicas share. `outcome` is `hit`, `hit_after_wait`, `miss`, `timeout`,
    /// `uncacheable` or `unavailable`.
    pub fn cache_l2_lookup(&self, upstream: &'static str, outcome: &'static str) {
        let attributes = [
            KeyValue::new("outcome", outcome),
            KeyValue::new("upstream", upstream),
        ];
        self.0.cache_l2_lookups.add(1, &attributes);
    }

    /// Counts one decision of a rate limit policy. `outcome` is `allowed`, `rejected` or `fail_closed`.
    pub fn rate_limit(&self, policy: impl Into<StringValue>, outcome: &'static str) {
        let attributes = [
            KeyValue::new("outcome", outcome),
            KeyValue::new("policy", policy.into()),
        ];
        self.0.rate_limits.add(1, &attributes);
    }

    /// Counts one request that load shedding rejected. `plan` is empty if the plan was not the reason.
    pub fn shed(&self, class: &'static str, plan: &str) {
        let attributes = [
            KeyValue::new("class", class),
            KeyValue::new("plan", plan.to_owned()),
        ];
        self.0.shed.add(1, &attributes);
    }

    /// Adds a gauge. Each scrape calls `value`. A second gauge with the same name does not replace the first.
    pub fn gauge(
        &self,
        name: &'static str,
        description: &'static str,
        value: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        (self.0.meter.u64_observable_gauge(name))
            .with_description(description)
            .with_callback(move |reader| reader.observe(value(), &[]))
            .build();
    }

    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.0.registry.gather())
            .unwrap_or_else(|error| format!("# {}\n", error.to_string().escape_default()))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A request in flight. It counts until it is dropped, also after a client disconnect.
#[must_use = "the request counts as active until this is dropped"]
#[derive(Debug)]
pub struct InFlightGuard(Metrics);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.0.active_requests.add(-1, &[]);
    }
}

/// An open WebSocket connection. It counts until it is dropped.
#[must_use = "the connection counts as open until this is dropped"]
#[derive(Debug)]
pub struct WebSocketGuard(Metrics, [KeyValue; 1]);

impl Drop for WebSocketGuard {
    fn drop(&mut self) {
        self.0.0.websocket_connections.add(-1, &self.1);
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

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_millis(12);

    #[track_caller]
    fn assert_has_line(metrics: &Metrics, line: &str) {
        let text = metrics.render();
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }

    #[test]
    fn request_durations_have_method_route_and_status() {
        let metrics = Metrics::new("web").unwrap();
        metrics.request_ended("GET", "/things/{id}", 200, DURATION);
        metrics.request_ended("BREW", "/things/{id}", 405, DURATION);
        let labels = r#"http_request_method="GET",http_response_status_code="200",http_route="/things/{id}",client="web""#;
        let name = "http_server_request_duration_seconds";
        assert_has_line(
            &metrics,
            &format!("{name}_bucket{{{labels},le=\"0.01\"}} 0"),
        );
        assert_has_line(
            &metrics,
            &format!("{name}_bucket{{{labels},le=\"0.025\"}} 1"),
        );
        assert_has_line(&metrics, &format!("{name}_sum{{{labels}}} 0.012"));
        assert_has_line(&metrics, &format!("{name}_count{{{labels}}} 1"));
        assert!(metrics.render().contains(r#"http_request_method="_OTHER""#));
    }

    #[test]
    fn a_request_is_active_until_its_guard_is_dropped() {
        let metrics = Metrics::new("tv").unwrap();
        let (one, _two) = (metrics.request_started(), metrics.request_started());
        assert_has_line(&metrics, r#"http_server_active_requests{client="tv"} 2"#);
        drop(one);
        assert_has_line(&metrics, r#"http_server_active_requests{client="tv"} 1"#);
    }

    #[test]
    fn call_durations_have_the_outcome() {
        let metrics = Metrics::new("web").unwrap();
        metrics.upstream_call("alpha", "/a/{id}", "ok", DURATION);
        metrics.upstream_call("alpha", "/a/{id}", "timeout", DURATION);
        metrics.upstream_call("alpha", "/a/{id}", "timeout", DURATION);
        assert_has_line(
            &metrics,
            r#"bff_upstream_call_duration_seconds_count{outcome="timeout",route="/a/{id}",upstream="alpha",client="web"} 2"#,
        );
    }

    #[test]
    fn a_section_is_counted_by_its_state() {
        let metrics = Metrics::new("web").unwrap();
        metrics.section("alpha".into(), Freshness::Fresh, None);
        metrics.section(
            Cow::Owned("alpha,beta".into()),
            Freshness::Stale,
            Some(Reason::Timeout),
        );
        assert_has_line(
            &metrics,
            r#"bff_sections_total{reason="",source="alpha",state="fresh",client="web"} 1"#,
        );
        assert_has_line(
            &metrics,
            r#"bff_sections_total{reason="timeout",source="alpha,beta",state="stale",client="web"} 1"#,
        );
    }

    #[test]
    fn a_gauge_has_the_value_at_the_time_of_the_scrape() {
        use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
        let metrics = Metrics::new("web").unwrap();
        let number = Arc::new(AtomicU64::new(3));
        let value = number.clone();
        metrics.gauge("bff.some", "Some.", move || value.load(Relaxed));
        assert_has_line(&metrics, r#"bff_some{client="web"} 3"#);
        number.store(4, Relaxed);
        assert_has_line(&metrics, r#"bff_some{client="web"} 4"#);
    }

    #[test]
    fn shed_requests_have_class_and_plan() {
        let metrics = Metrics::new("web").unwrap();
        metrics.shed("anonymous", "");
        metrics.shed("signed_in", "bronze");
        assert_has_line(
            &metrics,
            r#"bff_requests_shed_total{class="signed_in",plan="bronze",client="web"} 1"#,
        );
    }

    #[test]
    fn two_gateways_in_one_process_have_separate_metrics() {
        let (web, tv) = (Metrics::new("web").unwrap(), Metrics::new("tv").unwrap());
        web.section("alpha".into(), Freshness::Fresh, None);
        assert!(web.render().contains("bff_sections_total"));
        assert_eq!(tv.render(), "");
    }

    #[test]
    fn the_number_of_series_is_limited() {
        let metrics = Metrics::new("web").unwrap();
        for n in 0..3000 {
            metrics.request_ended("GET", &format!("/{n}"), 200, DURATION);
        }
        let text = metrics.render();
        let series = text.lines().filter(|l| l.contains("_count{")).count();
        assert!(series <= 2001, "{series}");
        assert!(text.contains("otel_metric_overflow"));
    }

    #[test]
    fn metrics_without_an_exporter_render_nothing() {
        let metrics = Metrics::noop();
        metrics.upstream_call("alpha", "/a", "ok", DURATION);
        drop(metrics.request_started());
        assert_eq!(metrics.render(), "");
    }
}
