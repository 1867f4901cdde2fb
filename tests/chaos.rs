//! Connection faults below HTTP, on real sockets: delay, low bandwidth, truncation, reset, half-close and black holes.

use std::time::Duration;

use fleet::Fleet;
use services_mock::{Backend, Fault, Mode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::{
    JsonResponse, TestFleet, disabled_breakers, instant, resident_kib, wait_until,
};
use proxy::{Proxy, ProxyFault};

mod proxy;

const PAGE: &str = "/api/product-details/p-1?fields=product,reviews,availability";
const PLAYBACK: &str = "/api/products/p-1/playback";
/// Longer than any timeout of the gateway on a busy machine. Only a failure reaches it.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A time that no test waits for.
const ENDLESS: Duration = Duration::from_secs(600);
/// Longer than the detection of a dead HTTP/2 connection on a busy machine: after five seconds of silence the client
/// sends a ping, and waits one second for its response.
const DETECTION_TIME: Duration = Duration::from_secs(60);

/// A web gateway that reaches one backend of another fleet through a proxy.
struct ProxiedBackend {
    fleet: TestFleet,
    /// The fleet with the backend behind the proxy.
    backends: TestFleet,
    proxy: Proxy,
    backend: Backend,
}

impl ProxiedBackend {
    async fn start(backend: Backend) -> Self {
        let web = |fleet: &mut Fleet| {
            let gateway = fleet::GATEWAYS.iter().find(|g| g.name == "web").unwrap();
            fleet.only = vec!["web".to_owned()];
            fleet
                .overlays
                .insert("web".to_owned(), disabled_breakers(gateway));
        };
        let backends = TestFleet::start_with(web).await;
        let proxy = Proxy::start(backends.running.backend_url(backend)).await;
        let fleet = TestFleet::start_with(|fleet| {
            web(fleet);
            fleet.real.insert(backend, proxy.url().to_owned());
        })
        .await;
        Self {
            fleet,
            backends,
            proxy,
            backend,
        }
    }

    fn calls(&self) -> u64 {
        self.backends.running.mocks().stats(self.backend).calls
    }

    /// Requests a playback manifest as ada.
    async fn playback(&self) -> JsonResponse {
        let ada = self.fleet.bearer("ada");
        let headers = [("authorization", ada.as_str())];
        self.fleet.get_with("web", PLAYBACK, &headers).await
    }
}

#[tokio::test]
async fn a_connection_fault_removes_only_the_section_of_its_backend() {
    let proxied = ProxiedBackend::start(Backend::Review).await;
    let healthy = proxied.fleet.get("web", PAGE).await.body;
    assert_eq!(healthy["_meta"]["complete"], true, "{healthy}");
    let timeouts = &["timeout", "deadline"][..];
    for (fault, reasons) in [
        (ProxyFault::Late(ENDLESS), timeouts),
        (ProxyFault::Narrow(10), timeouts),
        (ProxyFault::Drip(Duration::from_millis(500)), timeouts),
        (ProxyFault::Hole, timeouts),
        (ProxyFault::Reset, &["unavailable"]),
        (ProxyFault::HalfClose, &["unavailable"]),
        (ProxyFault::Truncate(0), &["unavailable"]),
        (ProxyFault::Truncate(20), &["unavailable"]),
        (ProxyFault::Truncate(400), &["bad_response"]),
    ] {
        proxied.proxy.set_fault(fault);
        let page = timeout(TIMEOUT, proxied.fleet.get("web", PAGE)).await;
        let page = page.unwrap_or_else(|_| panic!("{fault:?}: no response"));
        proxied.proxy.set_fault(ProxyFault::None);
        let case = format!("{fault:?}: {}", page.body);
        assert_eq!(page.status, 200, "{case}");
        let section = page.section("reviews");
        assert_eq!(section["state"], "missing", "{case}");
        assert!(
            reasons.contains(&section["reason"].as_str().unwrap()),
            "{case}"
        );
        let mut expected = healthy.clone();
        expected["reviews"] = serde_json::Value::Null;
        expected["_meta"]["complete"] = false.into();
        expected["_meta"]["sections"]["reviews"] = section.clone();
        assert_eq!(page.body, expected, "{case}");
        let recovered = proxied.fleet.get("web", PAGE).await.body;
        assert_eq!(recovered, healthy, "after {fault:?}");
    }
}

#[tokio::test]
async fn a_slow_connection_still_gives_a_complete_page() {
    let proxied = ProxiedBackend::start(Backend::Review).await;
    let healthy = proxied.fleet.get("web", PAGE).await.body;
    let pause = Duration::from_millis(150);
    for (fault, min_time) in [
        (ProxyFault::Late(pause), pause),
        (ProxyFault::Narrow(20_000), Duration::ZERO),
    ] {
        proxied.proxy.set_fault(fault);
        let started = instant();
        assert_eq!(
            proxied.fleet.get("web", PAGE).await.body,
            healthy,
            "{fault:?}"
        );
        assert!(started.elapsed() >= min_time, "{fault:?} had no effect");
    }
}

#[tokio::test]
async fn reset_idle_connections_cost_no_response() {
    let proxied = ProxiedBackend::start(Backend::Review).await;
    let healthy = proxied.fleet.get("web", PAGE).await.body;
    for round in 2..12 {
        proxied.proxy.set_fault(ProxyFault::Reset);
        wait_until(|| !proxied.proxy.is_open()).await;
        proxied.proxy.set_fault(ProxyFault::None);
        assert_eq!(proxied.fleet.get("web", PAGE).await.body, healthy);
        assert_eq!(
            proxied.calls(),
            round,
            "a dead connection counts as no attempt"
        );
        assert!(proxied.proxy.is_open(), "the new connection is reused");
    }
}

#[tokio::test]
async fn grpc_through_a_black_hole_times_out_and_recovers() {
    let proxied = ProxiedBackend::start(Backend::Playback).await;
    assert_eq!(proxied.playback().await.status, 200);
    proxied.proxy.set_fault(ProxyFault::Hole);
    let failed = timeout(TIMEOUT, proxied.playback()).await.unwrap();
    assert_eq!(
        (failed.status.as_u16(), failed.body["code"].as_str()),
        (504, Some("timeout")),
        "{}",
        failed.body
    );
    proxied.proxy.set_fault(ProxyFault::None);
    let recovered = proxied.playback().await;
    assert_eq!(recovered.status, 200, "{}", recovered.body);
}

#[tokio::test]
async fn a_dead_grpc_connection_is_detected_under_traffic() {
    let mut proxied = ProxiedBackend::start(Backend::Playback).await;
    assert_eq!(proxied.playback().await.status, 200);
    proxied.proxy.isolate_connections();
    let started = instant();
    assert_eq!(proxied.playback().await.status, 504, "not detected yet");
    while proxied.playback().await.status != 200 {
        assert!(started.elapsed() < DETECTION_TIME, "not detected");
    }
    assert!(proxied.proxy.is_open(), "a new connection is used");
}

#[tokio::test]
async fn a_grpc_connection_that_died_while_idle_costs_one_response_at_most() {
    let mut proxied = ProxiedBackend::start(Backend::Playback).await;
    assert_eq!(proxied.playback().await.status, 200);
    proxied.proxy.isolate_connections();
    // Longer than the ping interval. Without a call no ping is sent, because many servers treat that as abuse.
    sleep(Duration::from_millis(5500)).await;
    proxied.playback().await;
    sleep(Duration::from_secs(2)).await;
    let next = proxied.playback().await;
    assert_eq!(next.status, 200, "{}", next.body);
}

#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.replace("http://", ""))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_half_close_counts_as_a_disconnect() {
    // No timeout ends the call, so only the half-close can.
    let fleet = TestFleet::start_with(|fleet| {
        let timeouts =
            "[inbound]\ndeadline = \"120s\"\n[upstreams.product]\nattempt_timeout = \"120s\"\n";
        fleet.overlays.insert("web".into(), timeouts.into());
    })
    .await;
    let mocks = fleet.running.mocks();
    mocks
        .set_fault(Backend::Product, Fault::mode(Mode::Hang))
        .unwrap();
    let in_flight_is =
        |n| move |fleet: &TestFleet| fleet.running.mocks().stats(Backend::Product).in_flight == n;
    let mut client = connect(&fleet.running.url("web")).await;
    let requests = format!("GET {PAGE} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.write_all(requests.as_bytes()).await.unwrap();
    wait_until(|| in_flight_is(1)(&fleet)).await;
    client.shutdown().await.unwrap();
    wait_until(|| in_flight_is(0)(&fleet)).await;
}

#[tokio::test]
async fn slow_clients_do_not_delay_others() {
    let fleet = TestFleet::start_with(|fleet| {
        let server = "[server]\nheader_read_timeout = \"120s\"\n".to_owned();
        fleet.overlays.insert("web".into(), server);
    })
    .await;
    let url = fleet.running.url("web");
    fleet.get("web", PAGE).await;
    let mut slow_clients = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let mut client = connect(&url).await;
        slow_clients.spawn(async move {
            for byte in format!("GET {PAGE} HTTP/1.1\r\nhost: a\r\nx: ").into_bytes() {
                client.write_all(&[byte]).await.unwrap();
                sleep(Duration::from_millis(500)).await;
            }
        });
    }
    for _ in 0..20 {
        assert_eq!(fleet.get("web", PAGE).await.status, 200);
    }
    assert_eq!(slow_clients.len(), 200);
    let first = slow_clients.try_join_next();
    assert!(first.is_none(), "a slow client has finished before");
}

/// Once the socket buffers are full, the gateway reads no more requests from a client that reads no responses.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_does_not_read_uses_bounded_memory() {
    /// Far more than the buffers of four sockets.
    const MAX_BYTES: usize = 100 << 20;
    let fleet = TestFleet::start().await;
    let proxy = Proxy::start(&fleet.running.url("web")).await;
    fleet.get("web", "/openapi.json").await;
    let before = resident_kib();
    let mut client = connect(proxy.url()).await;
    // The client reads two bytes per second.
    proxy.set_fault(ProxyFault::Drip(Duration::from_millis(500)));
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
    let mut sent_bytes = 0;
    let stall_timeout = Duration::from_millis(500);
    while let Ok(write) = timeout(stall_timeout, client.write_all(requests.as_bytes())).await {
        write.unwrap();
        sent_bytes += requests.len();
        assert!(sent_bytes < MAX_BYTES, "the gateway still reads requests");
    }
    let growth = resident_kib().saturating_sub(before);
    assert!(growth < 192 << 10, "{growth} KiB more");
    let other = fleet.get("web", PAGE).await;
    assert_eq!(other.status, 200, "other clients are not served");
}
