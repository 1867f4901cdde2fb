//! The resilience policies between a failing backend and a client: retries and their budget, hedges, circuit breakers
//! and bulkheads.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use services_mock::{Backend, Fault};
use tokio::time::{Instant, sleep};

use crate::sim_fleet::{SimFleet, SimOptions};
use crate::support::{TestFleet, disabled_breakers};

const PAGE: &str = "/api/product-details/p-1?fields=product,reviews";

fn set_fault(fleet: &SimFleet, backend: Backend, fault: Fault) {
    fleet.mocks.set_fault(backend, fault).unwrap();
}

fn calls(fleet: &SimFleet, backend: Backend) -> u64 {
    fleet.mocks.stats(backend).calls
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_repairs_one_failure() {
    let fleet = SimFleet::start_web("");
    for backend in [Backend::Review, Backend::Product] {
        fleet.mocks.clear_stats();
        set_fault(&fleet, backend, Fault::status(503).times(1));
        let page = fleet.get("web", PAGE).await;
        assert_eq!(page.body["_meta"]["complete"], true, "{}", page.body);
        assert_eq!(calls(&fleet, backend), 2);
    }
    let metrics = fleet.get_text("web-admin", "/metrics").await;
    let retries = |line: &&str| line.starts_with("bff_upstream_retries_total{");
    assert_eq!(metrics.lines().filter(retries).count(), 2, "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_404_is_not_retried() {
    let fleet = SimFleet::start_web("");
    set_fault(&fleet, Backend::Review, Fault::status(404));
    let page = fleet.get("web", PAGE).await;
    assert_eq!(page.section("reviews")["reason"], "not_found");
    assert_eq!(calls(&fleet, Backend::Review), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_beyond_the_deadline_prevents_the_retry() {
    let fleet = SimFleet::start_web("");
    // The mock's 503 has `Retry-After: 1`, which is longer than the client's timeout.
    set_fault(&fleet, Backend::Review, Fault::status(503));
    let page = fleet
        .get_with("web", PAGE, &[("request-timeout", "400")])
        .await;
    let reviews = page.section("reviews");
    assert_eq!(reviews["reason"], "unavailable", "{reviews}");
    assert_eq!(reviews["retryAfterMs"], 1000);
    assert_eq!(calls(&fleet, Backend::Review), 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_breaker_fails_at_once_and_reports_the_retry_time() {
    let fleet = SimFleet::start_web("");
    set_fault(&fleet, Backend::Review, Fault::status(500));
    for _ in 0..5 {
        fleet.get("web", PAGE).await;
    }
    let before = calls(&fleet, Backend::Review);
    let started = Instant::now();
    let page = fleet.get("web", PAGE).await;
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_millis(10), "{elapsed:?}");
    assert_eq!(calls(&fleet, Backend::Review), before);
    assert_eq!(
        (
            page.status.as_u16(),
            page.section("product")["state"].as_str()
        ),
        (200, Some("fresh"))
    );
    let reviews = page.section("reviews");
    assert_eq!(reviews["reason"], "circuit_open");
    let retry_after = reviews["retryAfterMs"].as_u64().unwrap();
    assert!((1..=10_000).contains(&retry_after), "{retry_after}");
    // Readiness reports it, but stays 200, so that no replica is removed.
    let ready = fleet.get("web-admin", "/readyz").await;
    assert_eq!(ready.status, 200);
    let ready = fleet.get_text("web-admin", "/readyz").await;
    assert_eq!(ready, "ready, review: circuit_open");
}

#[tokio::test(start_paused = true)]
async fn the_retry_budget_limits_extra_calls_to_a_tenth() {
    const PAGES: u64 = 300;
    let fleet = SimFleet::start(SimOptions {
        seed: 1,
        only_gateway: Some("web"),
        network_faults: false,
        extra_config: Box::new(disabled_breakers),
    });
    set_fault(&fleet, Backend::Review, Fault::status(500).rate(0.3));
    let pages: Vec<_> = stream::iter(0..PAGES)
        .map(|_| fleet.get("web", PAGE))
        .buffer_unordered(8)
        .collect()
        .await;
    assert!(pages.iter().all(|page| page.status == 200));
    let calls = calls(&fleet, Backend::Review);
    assert!(calls > PAGES + PAGES / 20, "{calls}: too few retries");
    // The reserve grants three more.
    assert!(calls <= PAGES + PAGES / 10 + 3, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_read_is_hedged_and_the_hedge_wins() {
    let fleet = SimFleet::start_web("");
    let path = "/api/product-details/p-1?fields=product";
    let latency = Fault::latency(Duration::from_millis(20));
    set_fault(&fleet, Backend::Product, latency);
    // Enough samples for a quantile.
    for _ in 0..80 {
        fleet.get("web", path).await;
    }
    sleep(Duration::from_millis(120)).await;
    fleet.mocks.clear_faults(None);
    fleet.mocks.clear_stats();
    let slow_once = Fault {
        next: Some(1),
        ..Fault::latency(Duration::from_millis(900))
    };
    set_fault(&fleet, Backend::Product, slow_once);
    let started = Instant::now();
    let page = fleet.get("web", path).await;
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_millis(600), "{elapsed:?}");
    assert_eq!(page.body["_meta"]["complete"], true);
    sleep(Duration::from_millis(10)).await;
    let product = fleet.mocks.stats(Backend::Product);
    assert_eq!(product.calls, 2);
    assert_eq!(product.in_flight, 0, "the slower attempt is not cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_limits_concurrent_calls() {
    let fleet = SimFleet::start_web("[upstreams.review.bulkhead]\nmax_concurrent = 2\n");
    let latency = Fault::latency(Duration::from_millis(200));
    set_fault(&fleet, Backend::Review, latency);
    let pages = join_all((0..10).map(|_| fleet.get("web", PAGE))).await;
    let rejected = pages
        .iter()
        .filter(|page| page.section("reviews")["reason"] == "overloaded");
    assert_eq!(rejected.count(), 8);
    assert_eq!(fleet.mocks.stats(Backend::Review).peak_in_flight, 2);
}

#[tokio::test]
async fn an_unreachable_instance_costs_no_response() {
    // No process listens on this port any more.
    let unreachable = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unreachable = unreachable.local_addr().unwrap();
    let backends = TestFleet::start().await;
    let reachable = backends
        .running
        .backend_url(Backend::Review)
        .replace("http://", "");
    let fleet = TestFleet::start_with(|fleet| {
        let endpoints = format!(
            "[upstreams.review.discovery]\nendpoints = [{{ address = \"{unreachable}\" }}, {{ address = \"{reachable}\" }}]\n"
        );
        fleet.overlays.insert("web".into(), endpoints);
    })
    .await;
    for _ in 0..40 {
        let page = fleet.get("web", PAGE).await;
        assert_eq!(page.body["_meta"]["complete"], true, "{}", page.body);
    }
    let calls = backends.running.mocks().stats(Backend::Review).calls;
    assert_eq!(calls, 40, "the reachable instance gets every call");
}

#[tokio::test]
async fn an_error_in_the_discovery_configuration_names_its_key() {
    let result = fleet::start(fleet::Fleet {
        ports: fleet::Ports::Free,
        overlays: [(
            "web".to_owned(),
            "[upstreams.review.discovery]\nkind = \"consul\"\n".to_owned(),
        )]
        .into(),
        ..fleet::Fleet::default()
    })
    .await;
    let line = result.err().unwrap();
    assert!(line.contains("upstreams.review.discovery"), "{line}");
    assert_eq!(line.lines().count(), 1);
}
