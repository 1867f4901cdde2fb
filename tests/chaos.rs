//! What breaks below HTTP, between real sockets: connections that are late, narrow, cut, reset, half closed or dead.

use std::time::Duration;

use fleet::Fleet;
use services_mock::{Backend, Fault, Mode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::{JsonResponse, TestFleet, instant, never_opens, resident_kib, wait_until};
use proxy::{Ill, Proxy};

mod proxy;

const PAGE: &str = "/api/product-details/p-1?fields=product,reviews,availability";
const PLAYBACK: &str = "/api/products/p-1/playback";
/// The web's deadline, and what an answer may take beyond it on a busy machine.
const DEADLINE: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_millis(250);
/// Longer than it takes to notice that an HTTP/2 connection is dead: five seconds of silence before a ping, one for its
/// answer, and one for the call meanwhile.
const NOTICED: Duration = Duration::from_secs(7);

/// A web gateway that reaches one backend of another fleet through a proxy.
struct Scene {
    fleet: TestFleet,
    /// Where the backend is that is reached through the proxy.
    behind: TestFleet,
    proxy: Proxy,
    backend: Backend,
}

impl Scene {
    async fn with(backend: Backend) -> Self {
        let web = |fleet: &mut Fleet| {
            let own = fleet::GATEWAYS.iter().find(|g| g.name == "web").unwrap();
            fleet.only = vec!["web".to_owned()];
            fleet.overlays.insert("web".to_owned(), never_opens(own));
        };
        let behind = TestFleet::start_with(web).await;
        let proxy = Proxy::start(behind.running.backend_url(backend)).await;
        let fleet = TestFleet::start_with(|fleet| {
            web(fleet);
            fleet.real.insert(backend, proxy.url().to_owned());
        })
        .await;
        Self {
            fleet,
            behind,
            proxy,
            backend,
        }
    }

    fn calls(&self) -> u64 {
        self.behind.running.mocks().stats(self.backend).calls
    }

    /// The playback of somebody who may watch.
    async fn playback(&self) -> JsonResponse {
        let ada = self.fleet.bearer("ada");
        let headers = [("authorization", ada.as_str())];
        self.fleet.get_with("web", PLAYBACK, &headers).await
    }
}

#[tokio::test]
async fn what_breaks_below_http_is_told_truly_in_time_and_takes_its_own_section_only() {
    let scene = Scene::with(Backend::Review).await;
    let whole = scene.fleet.get("web", PAGE).await.body;
    assert_eq!(whole["_meta"]["complete"], true, "{whole}");
    let late = &["timeout", "deadline"][..];
    let ever = Duration::from_secs(5);
    for (ill, reasons) in [
        (Ill::Late(ever), late),
        (Ill::Narrow(100), late),
        (Ill::Drip(Duration::from_millis(30)), late),
        (Ill::Hole, late),
        (Ill::Reset, &["unavailable"]),
        (Ill::HalfClose, &["unavailable"]),
        (Ill::Truncate(0), &["unavailable"]),
        (Ill::Truncate(20), &["unavailable"]),
        (Ill::Truncate(400), &["bad_response"]),
    ] {
        scene.proxy.set(ill);
        let began = instant();
        let page = scene.fleet.get("web", PAGE).await;
        let took = began.elapsed();
        scene.proxy.set(Ill::None);
        let case = format!("{ill:?} after {took:?}: {}", page.body);
        assert!(took <= DEADLINE + GRACE, "{case}");
        assert_eq!(page.status, 200, "{case}");
        let told = page.section("reviews");
        assert_eq!(told["state"], "missing", "{case}");
        assert!(
            reasons.contains(&told["reason"].as_str().unwrap()),
            "{case}"
        );
        let mut wanted = whole.clone();
        wanted["reviews"] = serde_json::Value::Null;
        wanted["_meta"]["complete"] = false.into();
        wanted["_meta"]["sections"]["reviews"] = told.clone();
        assert_eq!(page.body, wanted, "{case}");
        let again = scene.fleet.get("web", PAGE).await.body;
        assert_eq!(again, whole, "once {ill:?} is over");
    }
}

#[tokio::test]
async fn a_connection_that_is_only_slow_costs_nothing_but_time() {
    let scene = Scene::with(Backend::Review).await;
    let whole = scene.fleet.get("web", PAGE).await.body;
    let pause = Duration::from_millis(150);
    for (ill, least) in [
        (Ill::Late(pause), pause),
        (Ill::Narrow(20_000), Duration::ZERO),
    ] {
        scene.proxy.set(ill);
        let began = instant();
        assert_eq!(scene.fleet.get("web", PAGE).await.body, whole, "{ill:?}");
        assert!(began.elapsed() >= least, "{ill:?} was not felt");
    }
}

#[tokio::test]
async fn idle_connections_that_are_reset_cost_no_answer() {
    let scene = Scene::with(Backend::Review).await;
    let whole = scene.fleet.get("web", PAGE).await.body;
    for round in 2..12 {
        scene.proxy.set(Ill::Reset);
        wait_until(|| !scene.proxy.is_open()).await;
        scene.proxy.set(Ill::None);
        assert_eq!(scene.fleet.get("web", PAGE).await.body, whole);
        assert_eq!(scene.calls(), round, "a dead connection was no attempt");
        assert!(scene.proxy.is_open(), "and it is kept");
    }
}

#[tokio::test]
async fn grpc_through_a_black_hole_fails_by_time_and_recovers_when_it_closes() {
    let scene = Scene::with(Backend::Playback).await;
    assert_eq!(scene.playback().await.status, 200);
    scene.proxy.set(Ill::Hole);
    let began = instant();
    let lost = scene.playback().await;
    let took = began.elapsed();
    assert_eq!(
        (lost.status.as_u16(), lost.body["code"].as_str()),
        (504, Some("timeout")),
        "{}",
        lost.body
    );
    assert!(took <= DEADLINE + GRACE, "{took:?}");
    scene.proxy.set(Ill::None);
    let found = scene.playback().await;
    assert_eq!(found.status, 200, "{}", found.body);
}

#[tokio::test]
async fn a_dead_grpc_connection_is_noticed_under_traffic() {
    let mut scene = Scene::with(Backend::Playback).await;
    assert_eq!(scene.playback().await.status, 200);
    scene.proxy.bury();
    let began = instant();
    assert_eq!(scene.playback().await.status, 504, "nobody knows yet");
    while scene.playback().await.status != 200 {
        assert!(began.elapsed() < NOTICED + GRACE, "it was never noticed");
    }
    assert!(scene.proxy.is_open(), "by a connection of its own");
}

#[tokio::test]
async fn a_grpc_connection_that_died_in_silence_costs_one_answer_at_most() {
    let mut scene = Scene::with(Backend::Playback).await;
    assert_eq!(scene.playback().await.status, 200);
    scene.proxy.bury();
    // Longer than the silence that makes a ping due. Without a call there is none: many a server takes that for abuse.
    sleep(Duration::from_millis(5500)).await;
    scene.playback().await;
    sleep(GRACE).await;
    let next = scene.playback().await;
    assert_eq!(next.status, 200, "{}", next.body);
}

#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
async fn dial(url: &str) -> TcpStream {
    TcpStream::connect(url.replace("http://", ""))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_client_that_half_closes_has_hung_up() {
    let fleet = TestFleet::start().await;
    let mocks = fleet.running.mocks();
    mocks
        .set_fault(Backend::Product, Fault::mode(Mode::Hang))
        .unwrap();
    let waits =
        |n| move |fleet: &TestFleet| fleet.running.mocks().stats(Backend::Product).in_flight == n;
    let mut client = dial(&fleet.running.url("web")).await;
    let asks = format!("GET {PAGE} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.write_all(asks.as_bytes()).await.unwrap();
    wait_until(|| waits(1)(&fleet)).await;
    client.shutdown().await.unwrap();
    wait_until(|| waits(0)(&fleet)).await;
}

#[tokio::test]
async fn clients_that_drip_hold_nobody_up() {
    let fleet = TestFleet::start().await;
    let url = fleet.running.url("web");
    fleet.get("web", PAGE).await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let mut client = dial(&url).await;
        slow.spawn(async move {
            for byte in format!("GET {PAGE} HTTP/1.1\r\nhost: a\r\nx: ").into_bytes() {
                client.write_all(&[byte]).await.unwrap();
                sleep(Duration::from_millis(20)).await;
            }
        });
    }
    let began = instant();
    for _ in 0..20 {
        assert_eq!(fleet.get("web", PAGE).await.status, 200);
    }
    let each = began.elapsed() / 20;
    assert!(each < Duration::from_millis(100), "{each:?} each");
    assert_eq!(slow.len(), 200);
    assert!(slow.try_join_next().is_none(), "all of them still drip");
}

/// Whoever asks without reading is not listened to any more, once what the sockets hold is full.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_does_not_read_is_not_served_without_end() {
    /// Far more than the buffers of four sockets hold.
    const MOST: usize = 100 << 20;
    let fleet = TestFleet::start().await;
    let proxy = Proxy::start(&fleet.running.url("web")).await;
    fleet.get("web", "/openapi.json").await;
    let before = resident_kib();
    let mut client = dial(proxy.url()).await;
    // Two bytes a second are read of all the answers.
    proxy.set(Ill::Drip(Duration::from_millis(500)));
    let asks = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
    let mut asked = 0;
    let patience = Duration::from_millis(500);
    while let Ok(sent) = timeout(patience, client.write_all(asks.as_bytes())).await {
        sent.unwrap();
        asked += asks.len();
        assert!(asked < MOST, "it is still listened to");
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 192 << 10, "{grown} KiB more");
    let quick = fleet.get("web", PAGE).await;
    assert_eq!(quick.status, 200, "others are served");
}
