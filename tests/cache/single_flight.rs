//! Single-flight: equal concurrent requests share one call, which lasts as long as one of them waits.

use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::support::runs_all_cases;

/// A client that sends all its requests over one HTTP/2 connection without TLS.
#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
pub(super) fn http2_client() -> Client {
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .http2_prior_knowledge();
    client.build().unwrap()
}

/// The number of equal requests at the same time.
pub(super) fn many_requests() -> usize {
    if runs_all_cases() { 1000 } else { 250 }
}

/// The concurrency limit admits all requests, and no entry expires while a busy machine handles them.
pub(super) fn config_for_many_requests() -> String {
    let upstream = |name: &str| {
        format!(
            "[upstreams.{name}]\nattempt_timeout = \"20s\"\n[upstreams.{name}.cache]\nttl = \"1h\"\n"
        )
    };
    format!(
        "[inbound]\ndeadline = \"60s\"\n\
         [inbound.load_shedding.concurrency_limit]\nmin = 2000\n{}",
        ["product", "review", "inventory"].map(upstream).concat()
    )
}

#[tokio::test]
async fn many_equal_requests_make_one_call_per_backend() {
    let fleet = start_caching(&config_for_many_requests()).await;
    // Slow enough that most requests arrive while the call is in flight. Later ones use the cache.
    for backend in [Backend::Product, Backend::Review, Backend::Inventory] {
        let slow = Fault::latency(Duration::from_millis(400));
        fleet.running.mocks().set_fault(backend, slow).unwrap();
    }
    let url = format!("{}{PART}", fleet.running.url("web"));
    let clients: Vec<Client> = (0..5).map(|_| http2_client()).collect();
    let requests = (0..many_requests()).map(|n| {
        let request = clients[n % 5].get(&url);
        async move { send(request).await.bytes().await.unwrap() }
    });
    let pages = join_all(requests).await;
    let first: Value = serde_json::from_slice(&pages[0]).unwrap();
    assert_eq!(first["_meta"]["complete"], true, "{first}");
    for page in &pages {
        let page: Value = serde_json::from_slice(page).unwrap();
        assert_eq!(page["product"], first["product"]);
    }
    for backend in [Backend::Product, Backend::Review, Backend::Inventory] {
        assert_eq!(fleet.running.mocks().stats(backend).calls, 1, "{backend}");
    }
}

/// Starts a sim fleet that caches.
fn start_sim() -> SimFleet {
    SimFleet::start_web("[cache]\nmax_bytes = 67108864\n")
}

#[tokio::test(start_paused = true)]
async fn a_shared_call_survives_its_first_caller() {
    let fleet = start_sim();
    let slow = Fault::latency(Duration::from_millis(400));
    fleet.mocks.set_fault(Backend::Review, slow).unwrap();
    let leader = timeout(Duration::from_millis(200), fleet.get("web", PART));
    let follower = async {
        sleep(Duration::from_millis(100)).await;
        fleet.get("web", PART).await
    };
    let (leader, page) = tokio::join!(leader, follower);
    assert!(leader.is_err(), "the first client disconnects");
    assert_eq!(page.section("reviews")["state"], "fresh");
    let review = fleet.mocks.stats(Backend::Review);
    assert_eq!((review.calls, review.cancelled), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_shared_call_ends_with_its_last_caller() {
    let fleet = start_sim();
    let hang = Fault::mode(Mode::Hang);
    fleet.mocks.set_fault(Backend::Product, hang).unwrap();
    let path = "/api/product-details/p-2?fields=product";
    let leader = timeout(Duration::from_millis(100), fleet.get("web", path));
    let follower = timeout(Duration::from_millis(300), fleet.get("web", path));
    let product = || fleet.mocks.stats(Backend::Product);
    let observer = async {
        sleep(Duration::from_millis(200)).await;
        assert_eq!(product().in_flight, 1, "one caller still waits");
        sleep(Duration::from_millis(150)).await;
        assert_eq!((product().in_flight, product().cancelled), (0, 1));
    };
    let (leader, follower, ()) = tokio::join!(leader, follower, observer);
    assert!(leader.is_err() && follower.is_err(), "both disconnect");
}

#[tokio::test(start_paused = true)]
async fn a_shared_call_continues_after_the_shortest_deadline() {
    let fleet = start_sim();
    let slow = Fault::latency(Duration::from_millis(500));
    fleet.mocks.set_fault(Backend::Review, slow).unwrap();
    let headers = [("request-timeout", "250")];
    let started = Instant::now();
    let (short, long) = tokio::join!(
        async {
            let page = fleet.get_with("web", PART, &headers).await;
            (page, started.elapsed())
        },
        async {
            sleep(Duration::from_millis(100)).await;
            fleet.get("web", PART).await
        }
    );
    assert_eq!(short.0.section("reviews")["reason"], "deadline");
    assert!(short.1 <= Duration::from_millis(250), "{:?}", short.1);
    assert_eq!(long.section("reviews")["state"], "fresh");
    assert_eq!(fleet.mocks.stats(Backend::Review).calls, 1);
}
