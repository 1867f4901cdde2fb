//! Load shedding: the order of the priority classes, the response to a shed request, and the release of permits.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use reqwest::{Method, Response};
use services_mock::{Backend, Fault, Mode};

use crate::sim_fleet::{SimFleet, SimOptions};
use crate::support::{JsonResponse, TestFleet, runs_all_cases, send, wait_until};

const PAGE: &str = "/api/product-details/p-1?fields=product";
const PARTNER_PAGE: &str = "/v2/products/p-1?fields=product";
const PREFETCH: (&str, &str) = ("priority", "u=6");
const BACKGROUND: (&str, &str) = ("priority", "u=5");
/// Longer than any of these tests takes.
const LONG: &str = "120s";

/// Starts a gateway with a fixed concurrency limit. A hanging backend call lasts until its client disconnects.
async fn start_with_limit(
    gateway: &'static str,
    limit: u32,
    inbound: &str,
    more: &str,
) -> TestFleet {
    let config = format!(
        "[inbound]\ndeadline = \"{LONG}\"\n{inbound}\
         [inbound.load_shedding.concurrency_limit]\nmin = {limit}\nmax = {limit}\n\
         [upstreams.product]\nattempt_timeout = \"{LONG}\"\n{more}"
    );
    TestFleet::start_with(|fleet| {
        fleet.only = vec![gateway.to_owned()];
        fleet.overlays.insert(gateway.to_owned(), config);
    })
    .await
}

fn hang_products(fleet: &TestFleet) {
    let hangs = Fault::mode(Mode::Hang);
    (fleet.running.mocks())
        .set_fault(Backend::Product, hangs)
        .unwrap();
}

fn in_flight(fleet: &TestFleet) -> u64 {
    fleet.running.mocks().stats(Backend::Product).in_flight
}

/// Requests that hang at a backend until their clients disconnect.
struct HangingRequests(Vec<tokio::task::JoinHandle<Option<Response>>>);

impl HangingRequests {
    /// Sends `count` more requests, and waits until all have reached the backend.
    #[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
    async fn add(&mut self, fleet: &TestFleet, path: &str, count: usize, headers: &[(&str, &str)]) {
        let gateway = if fleet.running.has("web") {
            "web"
        } else {
            "partner"
        };
        for _ in 0..count {
            let url = format!("{}{path}", fleet.running.url(gateway));
            let mut request = fleet.http.get(url);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            self.0
                .push(tokio::spawn(async { request.send().await.ok() }));
        }
        let total = self.0.len() as u64;
        wait_until(|| in_flight(fleet) == total).await;
    }

    /// Disconnects every client, and waits until the backend calls end.
    async fn disconnect(&mut self, fleet: &TestFleet) {
        for request in self.0.drain(..) {
            request.abort();
        }
        wait_until(|| in_flight(fleet) == 0).await;
    }
}

fn assert_overloaded(response: &JsonResponse) {
    assert_eq!(
        (response.status.as_u16(), &response.body["code"]),
        (503, &"overloaded".into()),
        "{}",
        response.body
    );
    let seconds: u64 = response.header("retry-after").parse().unwrap();
    assert!((1..=3).contains(&seconds), "{seconds}");
}

async fn metrics(fleet: &TestFleet, gateway: &str) -> String {
    let metrics = fleet
        .http
        .get(format!("{}/metrics", fleet.running.admin_url(gateway)));
    send(metrics).await.text().await.unwrap()
}

/// The value of a metric whose only label is the client.
fn value(metrics: &str, name: &str) -> u32 {
    let line = metrics
        .lines()
        .find(|l| l.starts_with(&format!("{name}{{")));
    line.and_then(|l| l.rsplit(' ').next()?.parse().ok())
        .unwrap()
}

#[tokio::test]
async fn prefetches_are_shed_first_and_writes_last() {
    let fleet = start_with_limit("web", 20, "", "").await;
    hang_products(&fleet);
    let ada = fleet.bearer("ada");
    let signed_in = ("authorization", ada.as_str());
    let mut requests = HangingRequests(Vec::new());
    // Each class is admitted up to its share of the limit. Then it is shed, and the next class is still admitted.
    requests.add(&fleet, PAGE, 10, &[PREFETCH]).await;
    assert_overloaded(&fleet.get_with("web", PAGE, &[PREFETCH]).await);
    assert_overloaded(&fleet.get_with("web", PAGE, &[PREFETCH, signed_in]).await);
    requests.add(&fleet, PAGE, 2, &[BACKGROUND]).await;
    assert_overloaded(&fleet.get_with("web", PAGE, &[BACKGROUND, signed_in]).await);
    requests.add(&fleet, PAGE, 3, &[]).await;
    assert_overloaded(&fleet.get("web", PAGE).await);
    requests.add(&fleet, PAGE, 4, &[signed_in]).await;
    assert_overloaded(&fleet.get_with("web", PAGE, &[signed_in]).await);
    // A write is still admitted: the router responds 405, and it runs after load shedding.
    let write = fleet.post("web", "/api/home", &serde_json::json!({})).await;
    assert_eq!(write.status, 405);
    let metrics_text = metrics(&fleet, "web").await;
    for (class, count) in [
        ("prefetch", 2),
        ("background", 1),
        ("anonymous", 1),
        ("signed_in", 1),
    ] {
        let line =
            format!(r#"bff_requests_shed_total{{class="{class}",plan="",client="web"}} {count}"#);
        assert!(
            metrics_text.contains(&line),
            "{line} is not in\n{metrics_text}"
        );
    }
    assert_eq!(value(&metrics_text, "bff_concurrency_limit"), 20);
    assert_eq!(value(&metrics_text, "bff_requests_in_flight"), 19);
    requests.disconnect(&fleet).await;
}

#[tokio::test]
async fn a_graphql_query_counts_as_a_read() {
    let fleet = start_with_limit("web", 20, "", "").await;
    hang_products(&fleet);
    let mut requests = HangingRequests(Vec::new());
    requests.add(&fleet, PAGE, 15, &[]).await;
    let query = serde_json::json!({"query": "{ __typename }"});
    assert_overloaded(&fleet.post("web", "/graphql", &query).await);
    requests.disconnect(&fleet).await;
    assert_eq!(fleet.post("web", "/graphql", &query).await.status, 200);
}

#[tokio::test]
async fn a_shed_request_gets_a_complete_response_and_system_pages_need_no_permit() {
    let fleet = start_with_limit("web", 4, "cors_origins = [\"https://shop.example\"]\n", "").await;
    hang_products(&fleet);
    let mut requests = HangingRequests(Vec::new());
    requests.add(&fleet, PAGE, 3, &[]).await;
    let origin = ("origin", "https://shop.example");
    let response = fleet
        .get_with("web", PAGE, &[origin, ("x-request-id", "r-1")])
        .await;
    assert_overloaded(&response);
    assert_eq!(response.header("content-type"), "application/problem+json");
    assert_eq!(response.header("access-control-allow-origin"), origin.1);
    assert!(
        response
            .header("access-control-expose-headers")
            .contains("retry-after")
    );
    assert_eq!(response.header("x-content-type-options"), "nosniff");
    assert_eq!(
        (response.header("x-request-id"), &response.body["requestId"]),
        ("r-1", &"r-1".into())
    );
    assert_eq!(in_flight(&fleet), 3, "a shed request makes no call");
    // System pages, preflights and unknown paths need no permit.
    for (path, status) in [
        ("/health", 200),
        ("/openapi.json", 200),
        ("/errors/overloaded", 200),
        ("/nowhere", 404),
    ] {
        assert_eq!(fleet.get("web", path).await.status, status, "{path}");
    }
    let preflight = fleet.http.request(
        Method::OPTIONS,
        format!("{}{PAGE}", fleet.running.url("web")),
    );
    let preflight = preflight
        .header(origin.0, origin.1)
        .header("access-control-request-method", "GET");
    assert_eq!(send(preflight).await.status(), 200);
    requests.disconnect(&fleet).await;
}

#[tokio::test]
async fn a_rejected_credential_releases_its_permit() {
    let fleet = start_with_limit("web", 4, "", "").await;
    hang_products(&fleet);
    let mut requests = HangingRequests(Vec::new());
    requests.add(&fleet, PAGE, 2, &[]).await;
    for _ in 0..50 {
        let response = fleet
            .get_with("web", PAGE, &[("authorization", "Bearer junk")])
            .await;
        assert_eq!(response.status, 401);
    }
    assert_eq!(
        value(&metrics(&fleet, "web").await, "bff_requests_in_flight"),
        2
    );
    requests.disconnect(&fleet).await;
}

#[tokio::test]
async fn permits_are_released_after_disconnects_and_responses() {
    let rounds = if runs_all_cases() { 60 } else { 20 };
    let fleet = start_with_limit("web", 8, "", "").await;
    hang_products(&fleet);
    let mut requests = HangingRequests(Vec::new());
    for _ in 0..rounds {
        requests.add(&fleet, PAGE, 6, &[]).await;
        requests.disconnect(&fleet).await;
    }
    fleet.running.mocks().clear_faults(None);
    for _ in 0..rounds {
        let pages = join_all((0..6).map(|_| fleet.get("web", PAGE))).await;
        assert!(pages.iter().all(|page| page.status == 200));
    }
    assert_eq!(
        value(&metrics(&fleet, "web").await, "bff_requests_in_flight"),
        0
    );
}

/// The configuration of an API key whose secret is its id.
fn partner_key(id: &str, plan: &str) -> String {
    let hash = bff_core::auth::api_key::hash(id);
    format!(
        "[auth.api_keys.{id}]\nhash = \"{hash}\"\naccount = \"{id}\"\nplan = \"{plan}\"\nscopes = [\"catalogue:read\"]\n"
    )
}

#[tokio::test]
async fn class_limits_of_partners_follow_their_plan() {
    let keys = [
        partner_key("weak", "bronze"),
        partner_key("fair", "silver"),
        partner_key("new", "unlisted"),
    ]
    .concat();
    let fleet = start_with_limit("partner", 20, "", &keys).await;
    hang_products(&fleet);
    let gold = ("x-api-key", fleet::PARTNER_KEY);
    let (bronze, silver) = (
        ("x-api-key", "bffp_weak_weak"),
        ("x-api-key", "bffp_fair_fair"),
    );
    let mut requests = HangingRequests(Vec::new());
    requests.add(&fleet, PARTNER_PAGE, 14, &[bronze]).await;
    assert_overloaded(&fleet.get_with("partner", PARTNER_PAGE, &[bronze]).await);
    assert_overloaded(
        &fleet
            .get_with("partner", PARTNER_PAGE, &[("x-api-key", "bffp_new_new")])
            .await,
    );
    requests.add(&fleet, PARTNER_PAGE, 2, &[silver]).await;
    assert_overloaded(&fleet.get_with("partner", PARTNER_PAGE, &[silver]).await);
    requests.add(&fleet, PARTNER_PAGE, 3, &[gold]).await;
    assert_overloaded(&fleet.get_with("partner", PARTNER_PAGE, &[gold]).await);
    let metrics_text = metrics(&fleet, "partner").await;
    let line = r#"bff_requests_shed_total{class="signed_in",plan="bronze",client="partner"} 1"#;
    assert!(metrics_text.contains(line), "{metrics_text}");
    requests.disconnect(&fleet).await;
}

/// Sends requests from `clients` concurrent clients for a time. Returns the lowest concurrency limit.
async fn run_load(fleet: &SimFleet, clients: usize, time: Duration) -> u32 {
    let mut lowest = u32::MAX;
    // A rejection takes no time on a paused clock, so that a client without a pause would stop it.
    let request = async || {
        if fleet.get("web", PAGE).await.status == 503 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut active: FuturesUnordered<_> = (0..clients).map(|_| request()).collect();
    let end = tokio::time::sleep(time);
    tokio::pin!(end);
    let mut sample = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            biased;
            () = &mut end => return lowest,
            _ = sample.tick() => {
                lowest = lowest.min(concurrency_limit(fleet, "web").await);
            }
            Some(()) = active.next() => active.push(request()),
        }
    }
}

async fn concurrency_limit(fleet: &SimFleet, gateway: &str) -> u32 {
    let admin = format!("{gateway}-admin");
    let metrics = fleet.get_text(&admin, "/metrics").await;
    value(&metrics, "bff_concurrency_limit")
}

#[tokio::test(start_paused = true)]
async fn the_concurrency_limit_drops_while_a_backend_hangs_and_recovers() {
    // The circuit breaker stays closed, so that every request reaches the backend.
    let config = "[inbound]\ndeadline = \"300ms\"\n[inbound.load_shedding.concurrency_limit]\nmin = 5\nmax = 40\n\
        [upstreams.product.circuit_breaker]\nmin_calls = 1000000\nconsecutive_failures = 1000000\n";
    let fleet = SimFleet::start_web(config);
    let set_fault = |fault| fleet.mocks.set_fault(Backend::Product, fault).unwrap();
    // Each client sends 20 requests a second, which is enough to measure latency in each window of 250 ms.
    let normal = Fault::latency(Duration::from_millis(50));
    set_fault(normal.clone());
    let healthy = run_load(&fleet, 30, Duration::from_secs(1)).await;
    assert!(healthy >= 20, "{healthy}");
    set_fault(Fault::mode(Mode::Hang));
    let hung = run_load(&fleet, 30, Duration::from_secs(4)).await;
    assert!(hung < 20, "{hung}");
    set_fault(normal);
    run_load(&fleet, 30, Duration::from_secs(2)).await;
    let recovered = concurrency_limit(&fleet, "web").await;
    assert!(recovered >= 30, "{recovered}");
}

#[tokio::test(start_paused = true)]
async fn rejections_after_admission_do_not_lower_the_concurrency_limit() {
    let config = format!(
        "[inbound]\ndeadline = \"{LONG}\"\n[inbound.load_shedding.concurrency_limit]\nmin = 1\nmax = 20\n\
         [upstreams.product]\nattempt_timeout = \"{LONG}\"\n{}",
        partner_key("weak", "bronze")
    );
    let fleet = SimFleet::start(SimOptions {
        seed: 1,
        only_gateway: Some("partner"),
        network_faults: false,
        extra_config: Box::new(move |_| config.clone()),
    });
    let hangs = Fault::mode(Mode::Hang);
    fleet.mocks.set_fault(Backend::Product, hangs).unwrap();
    let bronze = [("x-api-key", "bffp_weak_weak")];
    let get = || fleet.get_with("partner", PARTNER_PAGE, &bronze);
    // The caller is admitted as a signed-in one. After authentication its plan is known, which may use 14 slots.
    let rejected = async {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_overloaded(&get().await);
        }
    };
    tokio::select! {
        _ = join_all((0..14).map(|_| get())) => panic!("a hanging request ended"),
        () = rejected => {}
    }
    assert_eq!(concurrency_limit(&fleet, "partner").await, 20);
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_a_rate_limit_does_not_lower_the_concurrency_limit() {
    // Each of 30 clients waits for 1.5 s, which is close to the deadline.
    let config = "[inbound.rate_limits.policies.screens]\nalgorithm = \"leaky_bucket_queue\"\n\
                  limit = 20\nperiod = \"1s\"\nburst = 40\n";
    let fleet = SimFleet::start_web(config);
    let lowest = run_load(&fleet, 30, Duration::from_secs(10)).await;
    assert_eq!(lowest, 2000);
}

#[tokio::test(start_paused = true)]
async fn many_clients_at_once_are_no_overload_at_a_cold_start() {
    let services: &[u64] = if runs_all_cases() {
        &[50, 200, 1000]
    } else {
        &[1000]
    };
    for service in services {
        let config = "[upstreams.product]\nattempt_timeout = \"1500ms\"\n";
        let fleet = SimFleet::start_web(config);
        let slow = Fault::latency(Duration::from_millis(*service));
        fleet.mocks.set_fault(Backend::Product, slow).unwrap();
        let responses = join_all((0..1000).map(|_| fleet.get("web", PAGE))).await;
        let refused = responses.iter().filter(|one| one.status != 200).count();
        assert_eq!(refused, 0, "{service} ms");
        assert_eq!(concurrency_limit(&fleet, "web").await, 2000);
    }
}

#[tokio::test]
async fn an_error_in_the_load_shedding_configuration_names_its_key() {
    for (config, key) in [
        (
            "[inbound.load_shedding.concurrency_limit]\nmin = 2001\n",
            "inbound.load_shedding.concurrency_limit.min",
        ),
        (
            "[inbound.load_shedding.concurrency_limit]\ninitial = 100\n",
            "inbound.load_shedding.concurrency_limit.initial in the overlay: this key was removed: the limit starts at max",
        ),
        (
            "[inbound.load_shedding.class_limits]\nprefetch = 0.9\n",
            "inbound.load_shedding.class_limits.background",
        ),
        (
            "[inbound.load_shedding.class_limits]\nprefetch = 1.9\n",
            "inbound.load_shedding.class_limits.prefetch",
        ),
        (
            "[upstreams.review.bulkhead]\nmax_concurrent = 0\n",
            "upstreams.review.bulkhead.max_concurrent",
        ),
        (
            "[upstreams.review.bulkhead]\nmax = 9\n",
            "upstreams.review.bulkhead.max",
        ),
    ] {
        let result = fleet::start(fleet::Fleet {
            ports: fleet::Ports::Free,
            overlays: [("web".to_owned(), config.to_owned())].into(),
            ..fleet::Fleet::default()
        });
        let line = result.await.err().unwrap();
        assert!(line.contains(key) && line.lines().count() == 1, "{line}");
    }
}
