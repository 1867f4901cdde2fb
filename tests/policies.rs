//! What stands between a failing backend and a client: retry and its budget, hedge, breaker, bulkhead.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use services_mock::{Backend, Fault, Stats};

use crate::support::{TestFleet, instant};

const PAGE: &str = "/api/product-details/p-1?fields=product,reviews";

fn stats(fleet: &TestFleet, backend: Backend) -> Stats {
    fleet.running.mocks().stats(backend)
}

fn break_one(fleet: &TestFleet, backend: Backend, fault: Fault) {
    fleet.running.mocks().set_fault(backend, fault).unwrap();
}

#[tokio::test]
async fn one_failure_is_mended_by_a_second_attempt() {
    let fleet = TestFleet::start().await;
    for backend in [Backend::Review, Backend::Product] {
        fleet.running.mocks().clear_stats();
        break_one(&fleet, backend, Fault::status(503).times(1));
        let page = fleet.get("web", PAGE).await;
        assert_eq!(page.body["_meta"]["complete"], true, "{}", page.body);
        assert_eq!(stats(&fleet, backend).calls, 2);
    }
    let metrics = fleet
        .http
        .get(format!("{}/metrics", fleet.running.admin_url("web")));
    let metrics = crate::support::send(metrics).await.text().await.unwrap();
    let told = |line: &&str| line.starts_with("bff_upstream_retries_total{");
    assert_eq!(metrics.lines().filter(told).count(), 2, "{metrics}");
}

#[tokio::test]
async fn a_plain_refusal_is_not_repeated() {
    let fleet = TestFleet::start().await;
    break_one(&fleet, Backend::Review, Fault::status(404));
    let page = fleet.get("web", PAGE).await;
    assert_eq!(page.section("reviews")["reason"], "not_found");
    assert_eq!(stats(&fleet, Backend::Review).calls, 1);
}

#[tokio::test]
async fn a_retry_that_the_backend_puts_off_past_the_deadline_is_not_made() {
    let fleet = TestFleet::start().await;
    // The fake says Retry-After: 1 with it; the client gives less.
    break_one(&fleet, Backend::Review, Fault::status(503));
    let page = fleet
        .get_with("web", PAGE, &[("request-timeout", "400")])
        .await;
    let reviews = page.section("reviews");
    assert_eq!(reviews["reason"], "unavailable", "{reviews}");
    assert_eq!(reviews["retryAfterMs"], 1000);
    assert_eq!(stats(&fleet, Backend::Review).calls, 1);
}

#[tokio::test]
async fn a_backend_that_keeps_failing_is_left_alone_and_the_client_told() {
    let fleet = TestFleet::start().await;
    break_one(&fleet, Backend::Review, Fault::status(500));
    for _ in 0..5 {
        fleet.get("web", PAGE).await;
    }
    let asked = stats(&fleet, Backend::Review).calls;
    let began = instant();
    let page = fleet.get("web", PAGE).await;
    assert!(began.elapsed() < Duration::from_millis(500));
    assert_eq!(stats(&fleet, Backend::Review).calls, asked, "nobody asked");
    assert_eq!(
        (
            page.status.as_u16(),
            page.section("product")["state"].as_str()
        ),
        (200, Some("fresh"))
    );
    let reviews = page.section("reviews");
    assert_eq!(reviews["reason"], "circuit_open");
    let again = reviews["retryAfterMs"].as_u64().unwrap();
    assert!((1..=10_000).contains(&again), "{again}");
    // Operators see it; it takes no replica away.
    let ready = fleet
        .http
        .get(format!("{}/readyz", fleet.running.admin_url("web")));
    let ready = crate::support::send(ready).await;
    assert_eq!(ready.status(), 200);
    assert_eq!(ready.text().await.unwrap(), "ready, review: circuit_open");
}

#[tokio::test]
async fn with_three_in_ten_failing_a_backend_sees_a_tenth_more_calls_at_most() {
    const PAGES: u64 = 600;
    let fleet = TestFleet::start_without_circuit_breakers().await;
    break_one(&fleet, Backend::Review, Fault::status(500).rate(0.3));
    let pages: Vec<_> = stream::iter(0..PAGES)
        .map(|_| fleet.get("web", PAGE))
        .buffer_unordered(8)
        .collect()
        .await;
    assert!(pages.iter().all(|page| page.status == 200));
    let calls = stats(&fleet, Backend::Review).calls;
    // Three are lent to a backend that was quiet before.
    assert!(calls > PAGES + PAGES / 20, "{calls}: none was tried again");
    assert!(calls <= PAGES + PAGES / 10 + 3, "{calls}");
}

#[tokio::test]
async fn a_read_that_dawdles_is_raced_by_another_which_wins() {
    let fleet = TestFleet::start().await;
    let fields = "/api/product-details/p-1?fields=product";
    // Enough for a quantile.
    for _ in 0..80 {
        fleet.get("web", fields).await;
    }
    tokio::time::sleep(Duration::from_millis(120)).await;
    fleet.running.mocks().clear_stats();
    break_one(
        &fleet,
        Backend::Product,
        Fault {
            next: Some(1),
            ..Fault::latency(Duration::from_millis(900))
        },
    );
    let began = instant();
    let page = fleet.get("web", fields).await;
    assert!(
        began.elapsed() < Duration::from_millis(600),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(page.body["_meta"]["complete"], true);
    let product = stats(&fleet, Backend::Product);
    assert_eq!(product.calls, 2);
    assert_eq!(product.in_flight, 0, "the loser is cancelled");
}

#[tokio::test]
async fn a_backend_holds_no_more_calls_than_its_bulkhead_has_places() {
    let fleet = TestFleet::start_with(|fleet| {
        let two = "[upstreams.review.bulkhead]\nmax_concurrent = 2\n";
        fleet.overlays.insert("web".into(), two.into());
    })
    .await;
    break_one(
        &fleet,
        Backend::Review,
        Fault::latency(Duration::from_millis(200)),
    );
    let pages = join_all((0..10).map(|_| fleet.get("web", PAGE))).await;
    let refused = pages
        .iter()
        .filter(|page| page.section("reviews")["reason"] == "overloaded");
    assert_eq!(refused.count(), 8);
    assert_eq!(stats(&fleet, Backend::Review).peak_in_flight, 2);
}

#[tokio::test]
async fn an_instance_that_is_dead_costs_no_client_an_answer() {
    // A port that was free a moment ago and that nobody listens on.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = dead.local_addr().unwrap();
    let one = TestFleet::start().await;
    let live = one
        .running
        .backend_url(Backend::Review)
        .replace("http://", "");
    let fleet = TestFleet::start_with(|fleet| {
        let two = format!(
            "[upstreams.review.discovery]\nendpoints = [{{ address = \"{dead}\" }}, {{ address = \"{live}\" }}]\n"
        );
        fleet.overlays.insert("web".into(), two);
    })
    .await;
    for _ in 0..40 {
        let page = fleet.get("web", PAGE).await;
        assert_eq!(page.body["_meta"]["complete"], true, "{}", page.body);
    }
    let asked = stats(&one, Backend::Review).calls;
    assert_eq!(asked, 40, "the one that lives answers all");
}

#[tokio::test]
async fn a_mistake_in_discovery_names_its_key() {
    let refused = fleet::start(fleet::Fleet {
        ports: fleet::Ports::Free,
        overlays: [(
            "web".to_owned(),
            "[upstreams.review.discovery]\nkind = \"consul\"\n".to_owned(),
        )]
        .into(),
        ..fleet::Fleet::default()
    })
    .await;
    let line = refused.err().unwrap();
    assert!(line.contains("upstreams.review.discovery"), "{line}");
    assert_eq!(line.lines().count(), 1);
}
