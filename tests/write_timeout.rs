//! Clients that do not read their response: after `server.write_timeout` the gateway releases everything they hold.

use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use services_mock::{Backend, Fault, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::sim_fleet::{SimFleet, SimOptions, run_simulated};

/// The shipped `server.write_timeout`.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(100);
/// The logged cause of a response that the client did not read.
const CLIENT_STALLED: &str = "the client stopped reading the response";
const PROXIED: &str = "/api/products/p-1";
const SCREEN: &str = "/api/product-details/p-1";

/// Starts web only, with one stream permit for the product backend.
fn start() -> SimFleet {
    start_with(|_| "[upstreams.product.bulkhead]\nmax_streams = 1\n".to_owned())
}

fn start_with(extra_config: fn(&fleet::Gateway) -> String) -> SimFleet {
    SimFleet::start(SimOptions {
        seed: 1,
        only_gateway: Some("web"),
        network_faults: false,
        extra_config: Box::new(extra_config),
    })
}

thread_local! {
    /// The `cause` fields of the access log. A simulated test runs in one thread.
    static CAUSES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Installs the subscriber for every thread. With a thread-local subscriber, `tracing` caches whether a line is enabled,
/// and the result would depend on which thread logs the line first.
static SUBSCRIBER: LazyLock<()> =
    LazyLock::new(|| tracing::subscriber::set_global_default(Causes).unwrap());

struct Causes;

impl Subscriber for Causes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "access"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Self);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Visit for Causes {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "cause" {
            CAUSES.with_borrow_mut(|causes| causes.push(value.to_owned()));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// Runs a test and returns the logged causes.
fn run_logged(test: impl Future<Output = ()>) -> Vec<String> {
    LazyLock::force(&SUBSCRIBER);
    run_simulated(test);
    CAUSES.take()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://web.sim{path}");
    let request = Request::get(uri).header("host", "web.sim");
    request.body(Full::default()).unwrap()
}

/// Makes every response of the product backend endless.
fn set_endless_responses(fleet: &SimFleet) {
    let endless = Fault::mode(Mode::Endless);
    fleet.mocks.set_fault(Backend::Product, endless).unwrap();
}

fn in_flight(fleet: &SimFleet) -> u64 {
    fleet.mocks.stats(Backend::Product).in_flight
}

/// The sum of a metric over all series with this label.
async fn metric(fleet: &SimFleet, name: &str, label: &str) -> u64 {
    let response = fleet.send("web-admin", get("/metrics")).await.unwrap();
    let text = String::from_utf8(response.into_body().to_vec()).unwrap();
    let matches = |line: &&str| line.starts_with(name) && line.contains(label);
    let values = text.lines().filter(matches).map(|line| {
        let (_, value) = line.rsplit_once(' ').unwrap();
        value.parse::<u64>().unwrap()
    });
    values.sum()
}

/// The number of requests with status 499.
async fn count_disconnects(fleet: &SimFleet) -> u64 {
    metric(
        fleet,
        "http_server_request_duration_seconds_count",
        "\"499\"",
    )
    .await
}

/// The number of requests that hold a concurrency permit.
async fn active_requests(fleet: &SimFleet) -> u64 {
    metric(fleet, "bff_requests_in_flight", "").await
}

/// Opens an HTTP/2 connection with this stream window, which is the number of unread bytes that the client accepts.
async fn connect_http2(fleet: &SimFleet, window: u32) -> SendRequest<Full<Bytes>> {
    let connection = fleet.connect("web").await.unwrap();
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .initial_stream_window_size(window)
        .initial_connection_window_size(64 << 20);
    let (sender, connection) = settings.handshake(TokioIo::new(connection)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn status(sender: &mut SendRequest<Full<Bytes>>, path: &str) -> u16 {
    let response = sender.send_request(get(path)).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

#[test]
fn a_connection_that_is_not_read_is_closed_and_its_permits_are_released() {
    let causes = run_logged(async {
        let fleet = start();
        set_endless_responses(&fleet);
        let mut client = fleet.connect("web").await.unwrap();
        let request = format!("GET {PROXIED} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        sleep(WRITE_TIMEOUT.saturating_sub(MOMENT)).await;
        assert_eq!(in_flight(&fleet), 1, "the write timeout has not passed");
        fleet.mocks.clear_faults(None);
        let rejected = fleet.send("web", get(PROXIED)).await.unwrap();
        assert_eq!(rejected.status(), 503, "the only stream permit is in use");
        let screen = fleet.send("web", get(SCREEN)).await.unwrap();
        assert_eq!(screen.status(), 200, "a stream uses no call permit");
        sleep(2 * MOMENT).await;
        assert_eq!(in_flight(&fleet), 0);
        assert_eq!(fleet.send("web", get(PROXIED)).await.unwrap().status(), 200);
        assert_eq!(count_disconnects(&fleet).await, 1);
        // The client can still read the bytes that were sent before.
        let mut received = Vec::new();
        let _ = client.read_to_end(&mut received).await;
        assert!(received.starts_with(b"HTTP/1.1 200"));
    });
    assert!(causes.contains(&CLIENT_STALLED.to_owned()), "{causes:?}");
}

#[test]
fn a_client_that_reads_slowly_is_not_disconnected() {
    run_simulated(async {
        let fleet = start();
        set_endless_responses(&fleet);
        let mut client = fleet.connect("web").await.unwrap();
        let request = format!("GET {PROXIED} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut chunk = vec![0; 16 << 10];
        for _ in 0..20 {
            sleep(WRITE_TIMEOUT / 2).await;
            client.read_exact(&mut chunk).await.unwrap();
        }
        assert_eq!(in_flight(&fleet), 1);
        drop(client);
        sleep(MOMENT).await;
        assert_eq!(in_flight(&fleet), 0);
    });
}

#[test]
fn an_unread_http_2_response_is_reset_alone() {
    run_simulated(async {
        let fleet = start();
        let mut client = connect_http2(&fleet, 32 << 10).await;
        set_endless_responses(&fleet);
        let unread = client.send_request(get(PROXIED)).await.unwrap();
        let started = Instant::now();
        fleet.mocks.clear_faults(None);
        while started.elapsed() < WRITE_TIMEOUT.saturating_sub(MOMENT) {
            let rejected = status(&mut client, PROXIED).await;
            assert_eq!(rejected, 503, "the only stream permit is in use");
            assert_eq!(status(&mut client, "/health").await, 200);
            sleep(Duration::from_secs(1)).await;
        }
        sleep(2 * MOMENT).await;
        assert_eq!(in_flight(&fleet), 0);
        assert_eq!(status(&mut client, PROXIED).await, 200);
        assert_eq!(count_disconnects(&fleet).await, 1);
        // The client gets the bytes that fitted its window, and then a reset.
        let mut body: Incoming = Response::into_body(unread);
        let mut received = 0;
        let end = loop {
            match body.frame().await {
                Some(Ok(frame)) => received += frame.into_data().unwrap().len(),
                other => break other,
            }
        };
        assert!((16 << 10..64 << 10).contains(&received), "{received} bytes");
        assert!(end.is_some_and(|end| end.is_err()), "no reset");
    });
}

#[test]
fn unread_screens_release_their_concurrency_permits() {
    let causes = run_logged(async {
        let fleet = start();
        // A window of 0 accepts no byte of a body.
        let mut client = connect_http2(&fleet, 0).await;
        let mut responses = Vec::new();
        for _ in 0..5 {
            responses.push(client.send_request(get(SCREEN)).await.unwrap());
        }
        sleep(MOMENT).await;
        assert_eq!(active_requests(&fleet).await, 5);
        sleep(WRITE_TIMEOUT).await;
        assert_eq!(active_requests(&fleet).await, 0);
        assert_eq!(count_disconnects(&fleet).await, 5);
        // Other clients are served, and the idle timeout closes the connection.
        assert_eq!(fleet.send("web", get(SCREEN)).await.unwrap().status(), 200);
        sleep(Duration::from_secs(90)).await;
        assert!(client.is_closed());
    });
    assert_eq!(causes, [CLIENT_STALLED; 5]);
}

#[test]
fn pipelined_requests_are_not_processed_while_responses_are_unread() {
    run_simulated(async {
        let fleet = start();
        let mut client = fleet.connect("web").await.unwrap();
        let request = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
        client.write_all(request.as_bytes()).await.unwrap();
        sleep(MOMENT).await;
        let responses = metric(&fleet, "http_server_request_duration_seconds_count", "").await;
        assert!(
            (1..20).contains(&responses),
            "{responses} responses are buffered"
        );
        sleep(WRITE_TIMEOUT).await;
        let mut received = Vec::new();
        let _ = client.read_to_end(&mut received).await;
        assert!(received.len() < 1 << 20, "{} bytes", received.len());
    });
}

/// Uploads an address; the second half of the body follows after 1.5 s.
async fn upload_slowly(fleet: &SimFleet) {
    let address =
        r#"{"name":"Ada","street":"Mole 1","city":"Kiel","postalCode":"24103","country":"DE"}"#;
    let (first, second) = address.split_at(40);
    let token = fleet.mocks.token_for("ada").unwrap();
    let mut sent = format!(
        "POST /api/users/ada/addresses HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let mut client = fleet.connect("web").await.unwrap();
    sent += &chunk(first);
    client.write_all(sent.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(1500)).await;
    let rest = chunk(second) + "0\r\n\r\n";
    client.write_all(rest.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert!(
        received.starts_with(b"HTTP/1.1 201"),
        "{}",
        String::from_utf8_lossy(&received)
    );
}

#[test]
fn slow_uploads_do_not_lower_the_concurrency_limit() {
    run_simulated(async {
        let fleet = start_with(|_| {
            "[inbound.load_shedding.concurrency_limit]\nmin = 1\nmax = 40\n".to_owned()
        });
        for _ in 0..200 {
            assert_eq!(fleet.send("web", get(PROXIED)).await.unwrap().status(), 200);
            sleep(Duration::from_millis(10)).await;
        }
        for _ in 0..8 {
            join_all((0..10).map(|_| upload_slowly(&fleet))).await;
            // The number of addresses of a user is limited.
            fleet.mocks.reset();
        }
        assert_eq!(metric(&fleet, "bff_concurrency_limit", "").await, 40);
    });
}
