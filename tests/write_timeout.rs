//! Clients that ask and do not take what they are answered: what they hold is theirs for as long as a limit says.

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

use crate::sim_fleet::{Plan, SimFleet, simulated};

const LIMIT: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(100);
/// What the log says of an answer that was given up.
const UNTAKEN: &str = "the client stopped reading the response";
const PASSED: &str = "/api/products/p-1";
const SCREEN: &str = "/api/product-details/p-1";

/// A town whose only gateway is the web's, with room for one stream at the product backend.
fn town() -> SimFleet {
    town_with(|_| "[upstreams.product.bulkhead]\nmax_streams = 1\n".to_owned())
}

fn town_with(also: fn(&fleet::Gateway) -> String) -> SimFleet {
    SimFleet::start(Plan {
        seed: 1,
        only: Some("web"),
        frail: false,
        also,
    })
}

thread_local! {
    /// What the lines about requests told as a cause: a simulated story runs in one thread.
    static CAUSES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps those for every thread, from the first story that wants them on: a subscriber for one thread alone would
/// depend on who writes a line for the first time just then.
static KEEPING: LazyLock<()> =
    LazyLock::new(|| tracing::subscriber::set_global_default(Causes).unwrap());

struct Causes;

impl Subscriber for Causes {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        of.target() == "access"
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

/// Runs a story; answers with the causes that were logged.
fn logged(story: impl Future<Output = ()>) -> Vec<String> {
    LazyLock::force(&KEEPING);
    simulated(story);
    CAUSES.take()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://web.sim{path}");
    let request = Request::get(uri).header("host", "web.sim");
    request.body(Full::default()).unwrap()
}

/// Answers of the product backend never end from now on.
fn endless(town: &SimFleet) {
    let endless = Fault::mode(Mode::Endless);
    town.mocks.set_fault(Backend::Product, endless).unwrap();
}

fn under_way(town: &SimFleet) -> u64 {
    town.mocks.stats(Backend::Product).in_flight
}

/// The sum of a metric over all its series that have this label.
async fn metric(town: &SimFleet, name: &str, label: &str) -> u64 {
    let answer = town.ask("web-admin", get("/metrics")).await.unwrap();
    let text = String::from_utf8(answer.into_body().to_vec()).unwrap();
    let of = |line: &&str| line.starts_with(name) && line.contains(label);
    let values = text.lines().filter(of).map(|line| {
        let (_, value) = line.rsplit_once(' ').unwrap();
        value.parse::<u64>().unwrap()
    });
    values.sum()
}

/// How many requests are told as given up by their clients.
async fn given_up(town: &SimFleet) -> u64 {
    metric(
        town,
        "http_server_request_duration_seconds_count",
        "\"499\"",
    )
    .await
}

/// How many requests hold a slot.
async fn slots(town: &SimFleet) -> u64 {
    metric(town, "bff_requests_in_flight", "").await
}

/// A client that speaks HTTP/2, and takes so many bytes of an answer that it does not read.
async fn second(town: &SimFleet, window: u32) -> SendRequest<Full<Bytes>> {
    let wire = town.dial("web").await.unwrap();
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .initial_stream_window_size(window)
        .initial_connection_window_size(64 << 20);
    let (sender, connection) = settings.handshake(TokioIo::new(wire)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn status(sender: &mut SendRequest<Full<Bytes>>, path: &str) -> u16 {
    let answer = sender.send_request(get(path)).await.unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}

#[test]
fn a_connection_that_takes_nothing_is_cut_and_what_it_held_is_free() {
    let causes = logged(async {
        let town = town();
        endless(&town);
        let mut client = town.dial("web").await.unwrap();
        let asked = format!("GET {PASSED} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.write_all(asked.as_bytes()).await.unwrap();
        sleep(LIMIT.saturating_sub(MOMENT)).await;
        assert_eq!(under_way(&town), 1, "it may take so long");
        town.mocks.clear_faults(None);
        let refused = town.ask("web", get(PASSED)).await.unwrap();
        assert_eq!(refused.status(), 503, "the place is taken");
        let screen = town.ask("web", get(SCREEN)).await.unwrap();
        assert_eq!(screen.status(), 200, "a stream takes none of a call's");
        sleep(2 * MOMENT).await;
        assert_eq!(under_way(&town), 0);
        assert_eq!(town.ask("web", get(PASSED)).await.unwrap().status(), 200);
        assert_eq!(given_up(&town).await, 1);
        // What was on its way still comes, and then no more.
        let mut heard = Vec::new();
        let _ = client.read_to_end(&mut heard).await;
        assert!(heard.starts_with(b"HTTP/1.1 200"));
    });
    assert!(causes.contains(&UNTAKEN.to_owned()), "{causes:?}");
}

#[test]
fn a_client_that_takes_little_by_little_is_not_cut() {
    simulated(async {
        let town = town();
        endless(&town);
        let mut client = town.dial("web").await.unwrap();
        let asked = format!("GET {PASSED} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.write_all(asked.as_bytes()).await.unwrap();
        let mut piece = vec![0; 16 << 10];
        for _ in 0..20 {
            sleep(LIMIT / 2).await;
            client.read_exact(&mut piece).await.unwrap();
        }
        assert_eq!(under_way(&town), 1);
        drop(client);
        sleep(MOMENT).await;
        assert_eq!(under_way(&town), 0);
    });
}

#[test]
fn of_several_answers_on_one_connection_only_the_one_not_taken_is_given_up() {
    simulated(async {
        let town = town();
        let mut client = second(&town, 32 << 10).await;
        endless(&town);
        let standing = client.send_request(get(PASSED)).await.unwrap();
        let began = Instant::now();
        town.mocks.clear_faults(None);
        while began.elapsed() < LIMIT.saturating_sub(MOMENT) {
            assert_eq!(status(&mut client, PASSED).await, 503, "the place is taken");
            assert_eq!(status(&mut client, "/health").await, 200);
            sleep(Duration::from_secs(1)).await;
        }
        sleep(2 * MOMENT).await;
        assert_eq!(under_way(&town), 0);
        assert_eq!(status(&mut client, PASSED).await, 200);
        assert_eq!(given_up(&town).await, 1);
        // It has what fitted its window, and is told that this was not all.
        let mut body: Incoming = Response::into_body(standing);
        let mut heard = 0;
        let broken = loop {
            match body.frame().await {
                Some(Ok(frame)) => heard += frame.into_data().unwrap().len(),
                other => break other,
            }
        };
        assert!((16 << 10..64 << 10).contains(&heard), "{heard} bytes");
        assert!(broken.is_some_and(|end| end.is_err()), "a reset");
    });
}

#[test]
fn screens_that_nobody_takes_hold_no_slot_for_ever() {
    let causes = logged(async {
        let town = town();
        // It takes no byte of any answer.
        let mut client = second(&town, 0).await;
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(client.send_request(get(SCREEN)).await.unwrap());
        }
        sleep(MOMENT).await;
        assert_eq!(slots(&town).await, 5);
        sleep(LIMIT).await;
        assert_eq!(slots(&town).await, 0);
        assert_eq!(given_up(&town).await, 5);
        // Nobody else is any worse off, and in the end the connection goes as an idle one.
        assert_eq!(town.ask("web", get(SCREEN)).await.unwrap().status(), 200);
        sleep(Duration::from_secs(90)).await;
        assert!(client.is_closed());
    });
    assert_eq!(causes, [UNTAKEN; 5]);
}

#[test]
fn nothing_is_answered_in_advance_to_a_client_that_takes_nothing() {
    simulated(async {
        let town = town();
        let mut client = town.dial("web").await.unwrap();
        let asked = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
        client.write_all(asked.as_bytes()).await.unwrap();
        sleep(MOMENT).await;
        let answered = metric(&town, "http_server_request_duration_seconds_count", "").await;
        assert!((1..20).contains(&answered), "{answered} answers are kept");
        sleep(LIMIT).await;
        let mut heard = Vec::new();
        let _ = client.read_to_end(&mut heard).await;
        assert!(heard.len() < 1 << 20, "{} bytes", heard.len());
    });
}

/// Ada sends a new address, of which the second half comes after a while.
async fn uploads_slowly(town: &SimFleet) {
    let address =
        r#"{"name":"Ada","street":"Mole 1","city":"Kiel","postalCode":"24103","country":"DE"}"#;
    let (first, second) = address.split_at(40);
    let token = town.mocks.token_for("ada").unwrap();
    let mut sent = format!(
        "POST /api/users/ada/addresses HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let piece = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let mut client = town.dial("web").await.unwrap();
    sent += &piece(first);
    client.write_all(sent.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(1500)).await;
    let rest = piece(second) + "0\r\n\r\n";
    client.write_all(rest.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert!(
        heard.starts_with(b"HTTP/1.1 201"),
        "{}",
        String::from_utf8_lossy(&heard)
    );
}

#[test]
fn how_slowly_clients_send_teaches_the_limit_nothing() {
    simulated(async {
        let town = town_with(|_| {
            "[inbound.load_shedding.concurrency_limit]\nmin = 1\ninitial = 40\nmax = 40\n"
                .to_owned()
        });
        for _ in 0..200 {
            assert_eq!(town.ask("web", get(PASSED)).await.unwrap().status(), 200);
            sleep(Duration::from_millis(10)).await;
        }
        for _ in 0..8 {
            join_all((0..10).map(|_| uploads_slowly(&town))).await;
            // She may have so many and no more.
            town.mocks.reset();
        }
        assert_eq!(metric(&town, "bff_concurrency_limit", "").await, 40);
    });
}
