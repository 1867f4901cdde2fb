//! More requests than can be answered: who is refused first, what a refusal says, and that slots come back.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use reqwest::{Method, Response};
use services_mock::{Backend, Fault, Mode};

use crate::support::{JsonResponse, TestFleet, send, wait_until};

const PAGE: &str = "/api/product-details/p-1?fields=product";
const PREFETCH: (&str, &str) = ("priority", "u=6");
const POLL: (&str, &str) = ("priority", "u=5");
/// Longer than any of these tests takes.
const PATIENT: (&str, &str) = ("request-timeout", "9000");

/// A gateway with a fixed number of slots, whose backends hang when told to.
async fn narrow(gateway: &'static str, slots: u32, more: &str) -> TestFleet {
    let limit = format!(
        "[inbound.load_shedding.concurrency_limit]\nmin = {slots}\ninitial = {slots}\nmax = {slots}\n"
    );
    // Those who hang are to stay, each at its one attempt.
    let patient = "attempt_timeout = \"9s\"\n";
    let config = format!("{limit}[upstreams.product]\n{patient}{more}");
    TestFleet::start_with(|fleet| {
        fleet.only = vec![gateway.to_owned()];
        fleet.overlays.insert(gateway.to_owned(), config);
    })
    .await
}

fn hang(fleet: &TestFleet) {
    let hangs = Fault::mode(Mode::Hang);
    (fleet.running.mocks())
        .set_fault(Backend::Product, hangs)
        .unwrap();
}

fn waiting(fleet: &TestFleet) -> u64 {
    fleet.running.mocks().stats(Backend::Product).in_flight
}

/// Requests that hang at a backend until they are dropped.
struct Hanging(Vec<tokio::task::JoinHandle<Option<Response>>>);

impl Hanging {
    /// Sends so many more, and waits until all are at the backend.
    #[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
    async fn add(&mut self, fleet: &TestFleet, path: &str, count: usize, headers: &[(&str, &str)]) {
        let gateway = if fleet.running.has("web") {
            "web"
        } else {
            "partner"
        };
        for _ in 0..count {
            let url = format!("{}{path}", fleet.running.url(gateway));
            let mut request = fleet.http.get(url).header(PATIENT.0, PATIENT.1);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            self.0
                .push(tokio::spawn(async { request.send().await.ok() }));
        }
        let all = self.0.len() as u64;
        wait_until(|| waiting(fleet) == all).await;
    }

    /// Hangs up.
    async fn leave(&mut self, fleet: &TestFleet) {
        for one in self.0.drain(..) {
            one.abort();
        }
        wait_until(|| waiting(fleet) == 0).await;
    }
}

fn refused(response: &JsonResponse) {
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

/// The value of a series that has no other labels than the client.
fn value(metrics: &str, name: &str) -> u32 {
    let line = metrics
        .lines()
        .find(|l| l.starts_with(&format!("{name}{{")));
    line.and_then(|l| l.rsplit(' ').next()?.parse().ok())
        .unwrap()
}

#[tokio::test]
async fn prefetches_are_refused_first_and_writes_last() {
    let fleet = narrow("web", 20, "").await;
    hang(&fleet);
    let ada = fleet.bearer("ada");
    let signed_in = ("authorization", ada.as_str());
    let mut hanging = Hanging(Vec::new());
    // Up to these, in turn, each class is let in; then it is refused, and the next is not.
    hanging.add(&fleet, PAGE, 10, &[PREFETCH]).await;
    refused(&fleet.get_with("web", PAGE, &[PREFETCH]).await);
    refused(&fleet.get_with("web", PAGE, &[PREFETCH, signed_in]).await);
    hanging.add(&fleet, PAGE, 2, &[POLL]).await;
    refused(&fleet.get_with("web", PAGE, &[POLL, signed_in]).await);
    hanging.add(&fleet, PAGE, 3, &[]).await;
    refused(&fleet.get("web", PAGE).await);
    hanging.add(&fleet, PAGE, 4, &[signed_in]).await;
    refused(&fleet.get_with("web", PAGE, &[signed_in]).await);
    // A write still comes in: no door of this gateway takes one here, and the router says so, not the edge.
    let written = fleet.post("web", "/api/home", &serde_json::json!({})).await;
    assert_eq!(written.status, 405);
    let told = metrics(&fleet, "web").await;
    for (class, count) in [
        ("prefetch", 2),
        ("background", 1),
        ("anonymous", 1),
        ("signed_in", 1),
    ] {
        let line =
            format!(r#"bff_requests_shed_total{{class="{class}",plan="",client="web"}} {count}"#);
        assert!(told.contains(&line), "{line} is not in\n{told}");
    }
    assert_eq!(value(&told, "bff_concurrency_limit"), 20);
    assert_eq!(value(&told, "bff_requests_in_flight"), 19);
    hanging.leave(&fleet).await;
}

#[tokio::test]
async fn a_graphql_query_is_a_read_though_it_is_posted() {
    let fleet = narrow("web", 20, "").await;
    hang(&fleet);
    let mut hanging = Hanging(Vec::new());
    hanging.add(&fleet, PAGE, 15, &[]).await;
    let query = serde_json::json!({"query": "{ __typename }"});
    refused(&fleet.post("web", "/graphql", &query).await);
    hanging.leave(&fleet).await;
    assert_eq!(fleet.post("web", "/graphql", &query).await.status, 200);
}

#[tokio::test]
async fn a_refusal_is_a_whole_answer_and_health_takes_no_slot() {
    let fleet = narrow(
        "web",
        4,
        "[inbound]\ncors_origins = [\"https://shop.example\"]\n",
    )
    .await;
    hang(&fleet);
    let mut hanging = Hanging(Vec::new());
    hanging.add(&fleet, PAGE, 3, &[]).await;
    let origin = ("origin", "https://shop.example");
    let response = fleet
        .get_with("web", PAGE, &[origin, ("x-request-id", "r-1")])
        .await;
    refused(&response);
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
    assert_eq!(waiting(&fleet), 3, "nothing was asked for it");
    // Neither pages nor preflights nor what is nowhere.
    for (path, status) in [
        ("/health", 200),
        ("/openapi.json", 200),
        ("/errors/overloaded", 200),
        ("/nowhere", 404),
    ] {
        assert_eq!(fleet.get("web", path).await.status, status, "{path}");
    }
    let asked = fleet.http.request(
        Method::OPTIONS,
        format!("{}{PAGE}", fleet.running.url("web")),
    );
    let asked = asked
        .header(origin.0, origin.1)
        .header("access-control-request-method", "GET");
    assert_eq!(send(asked).await.status(), 200);
    hanging.leave(&fleet).await;
}

#[tokio::test]
async fn a_bad_credential_is_401_and_gives_its_slot_back() {
    let fleet = narrow("web", 4, "").await;
    hang(&fleet);
    let mut hanging = Hanging(Vec::new());
    hanging.add(&fleet, PAGE, 2, &[]).await;
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
    hanging.leave(&fleet).await;
}

#[tokio::test]
async fn slots_come_back_after_hundreds_of_hang_ups_and_answers() {
    let fleet = narrow("web", 8, "").await;
    hang(&fleet);
    let mut hanging = Hanging(Vec::new());
    for _ in 0..60 {
        hanging.add(&fleet, PAGE, 6, &[]).await;
        hanging.leave(&fleet).await;
    }
    fleet.running.mocks().clear_faults(None);
    for _ in 0..60 {
        let pages = join_all((0..6).map(|_| fleet.get("web", PAGE))).await;
        assert!(pages.iter().all(|page| page.status == 200));
    }
    assert_eq!(
        value(&metrics(&fleet, "web").await, "bff_requests_in_flight"),
        0
    );
}

#[tokio::test]
async fn a_partner_is_refused_by_the_plan_of_its_key() {
    const PARTNER: &str = "/v2/products/p-1?fields=product";
    let key = |id: &str, plan: &str| {
        let hash = bff_core::auth::api_key::hash(id);
        format!(
            "[auth.api_keys.{id}]\nhash = \"{hash}\"\naccount = \"{id}\"\nplan = \"{plan}\"\nscopes = [\"catalogue:read\"]\n"
        )
    };
    let keys = [
        key("weak", "bronze"),
        key("fair", "silver"),
        key("new", "unlisted"),
    ]
    .concat();
    let fleet = narrow("partner", 20, &keys).await;
    hang(&fleet);
    let gold = ("x-api-key", fleet::PARTNER_KEY);
    let (bronze, silver) = (
        ("x-api-key", "bffp_weak_weak"),
        ("x-api-key", "bffp_fair_fair"),
    );
    let mut hanging = Hanging(Vec::new());
    hanging.add(&fleet, PARTNER, 14, &[bronze]).await;
    refused(&fleet.get_with("partner", PARTNER, &[bronze]).await);
    refused(
        &fleet
            .get_with("partner", PARTNER, &[("x-api-key", "bffp_new_new")])
            .await,
    );
    hanging.add(&fleet, PARTNER, 2, &[silver]).await;
    refused(&fleet.get_with("partner", PARTNER, &[silver]).await);
    hanging.add(&fleet, PARTNER, 3, &[gold]).await;
    refused(&fleet.get_with("partner", PARTNER, &[gold]).await);
    let told = metrics(&fleet, "partner").await;
    let line = r#"bff_requests_shed_total{class="signed_in",plan="bronze",client="partner"} 1"#;
    assert!(told.contains(line), "{told}");
    hanging.leave(&fleet).await;
}

/// Keeps so many requests on their way for a while; the least the limit became meanwhile.
async fn load(fleet: &TestFleet, clients: usize, time: Duration) -> u32 {
    let mut least = u32::MAX;
    let mut busy: FuturesUnordered<_> = (0..clients).map(|_| fleet.get("web", PAGE)).collect();
    let over = tokio::time::sleep(time);
    tokio::pin!(over);
    let mut look = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            biased;
            () = &mut over => return least,
            _ = look.tick() => {
                least = least.min(value(&metrics(fleet, "web").await, "bff_concurrency_limit"));
            }
            Some(_) = busy.next() => busy.push(fleet.get("web", PAGE)),
        }
    }
}

#[tokio::test]
async fn the_limit_goes_down_when_answers_are_late_and_recovers() {
    // Neither breaker nor hedge, so that it is the limit that shows.
    let fleet = TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".to_owned()];
        let config = "[inbound]\ndeadline = \"300ms\"\n[inbound.load_shedding.concurrency_limit]\nmin = 5\ninitial = 40\n\
            [upstreams.product.circuit_breaker]\nminimum_calls = 1000000\nconsecutive_failures = 1000000\n";
        fleet.overlays.insert("web".into(), config.into());
    })
    .await;
    let well = load(&fleet, 30, Duration::from_secs(1)).await;
    assert!(well >= 20, "{well}");
    hang(&fleet);
    let ill = load(&fleet, 30, Duration::from_secs(4)).await;
    assert!(ill < 20, "{ill}");
    fleet.running.mocks().clear_faults(None);
    load(&fleet, 30, Duration::from_secs(2)).await;
    let again = value(&metrics(&fleet, "web").await, "bff_concurrency_limit");
    assert!(again >= 30, "{again}");
}

#[tokio::test]
async fn a_mistake_in_the_shares_or_a_bulkhead_is_one_line_that_names_its_key() {
    for (config, key) in [
        (
            "[inbound.load_shedding.concurrency_limit]\nmin = 2000\n",
            "inbound.load_shedding.concurrency_limit.initial",
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
        let refused = fleet::start(fleet::Fleet {
            ports: fleet::Ports::Free,
            overlays: [("web".to_owned(), config.to_owned())].into(),
            ..fleet::Fleet::default()
        });
        let line = refused.await.err().unwrap();
        assert!(line.contains(key) && line.lines().count() == 1, "{line}");
    }
}
