//! Calls to a backend on a pipe that says what it is told to, word for word.

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::task::TaskTracker;

use super::*;
use crate::context::Env;
use crate::error::codes;
use crate::net::{Connection, InMemoryNetwork, Net};
use crate::scope::Public;
use crate::telemetry::Metrics;

mod race;

/// A backend, what it was sent, and a context to call it in.
struct Scene {
    cx: RequestContext,
    up: Upstream,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    /// A backend that answers every request with `said`, and keeps the connection open.
    fn new(said: impl Into<String>) -> Self {
        Self::with(said, |_| {})
    }

    /// The same, called otherwise than by default.
    fn with(said: impl Into<String>, change: impl FnOnce(&mut Config)) -> Self {
        crate::auth::install_crypto();
        let pipes = InMemoryNetwork::new(|_, _, pipe| Ok(Connection::InMemory(Box::new(pipe))));
        let heard = Arc::default();
        tokio::spawn(answer(
            pipes.listen("backend:80"),
            said.into(),
            Arc::clone(&heard),
        ));
        let shared = Arc::new(GatewayHandles {
            client: HeaderValue::from_static("test"),
            env: Env::seeded(7, Net::InMemory(pipes)),
            tasks: TaskTracker::new(),
            shutdown: tokio_util::sync::CancellationToken::new(),
            metrics: Metrics::noop(),
            cache: crate::cache::Cache::new(&crate::cache::Config::default(), &Env::real()),
            fields: crate::section::fields::FieldCache::default(),
        });
        let mut config = Config::at("http://backend".parse().unwrap());
        change(&mut config);
        let up = Upstream::new("backend", &config, &shared).unwrap();
        let cx = RequestContext::background(&shared, Duration::from_secs(5));
        Self { cx, up, heard }
    }

    async fn failure(&self, call: Call<Public>) -> Failure {
        let sent = send::<serde_json::Value, _>(&self.cx, &self.up, call).await;
        sent.unwrap_err()
    }
}

async fn answer(mut listener: crate::net::Listener, said: String, heard: Arc<Mutex<Vec<String>>>) {
    while let Some(mut wire) = listener.next().await {
        let (said, heard) = (said.clone(), heard.clone());
        tokio::spawn(async move {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(n @ 1..) = wire.read(&mut bytes).await {
                let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
                heard.lock().push(text);
                wire.write_all(said.as_bytes()).await.unwrap();
            }
        });
    }
}

/// Refuses to be written, and says a secret doing so.
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("secret"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_written_is_not_sent() {
    let scene = Scene::new("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let call = Call::post(Public, "/things").json(&Unwritable);
    let failure = scene.failure(call).await;
    let error = failure.error();
    assert_eq!(error.code(), codes::INTERNAL, "and not outcome_unknown");
    assert!(!format!("{failure:?}").contains("secret"));
    assert!(scene.heard.lock().is_empty());
    let twin = Call::post(Public, "/things").json(&"body");
    let sent = send::<serde_json::Value, _>(&scene.cx, &scene.up, twin).await;
    assert!(sent.is_ok(), "{sent:?}");
    assert!(scene.heard.lock()[0].ends_with("\"body\""));
}

/// A refusal with a body of this many bytes, of which `body` comes.
fn refusal(status: u16, length: usize, body: &str) -> String {
    format!("HTTP/1.1 {status} No\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test(start_paused = true)]
async fn a_typed_client_reads_what_a_refusal_says_and_nobody_prints_it() {
    #[derive(Deserialize)]
    struct Why {
        error: String,
    }
    let body = r#"{"error":"secret"}"#;
    for status in [402, 404, 409, 422] {
        let scene = Scene::new(refusal(status, body.len(), body));
        let failure = scene.failure(Call::post(Public, "/things")).await;
        assert_eq!(failure.error_body::<Why>().unwrap().error, "secret");
        assert!(
            failure.error_body::<Vec<u8>>().is_none(),
            "of another shape"
        );
        assert_eq!(failure.upstream_status().map(|s| s.as_u16()), Some(status));
        let printed = format!("{failure:?} {:?}", failure.error());
        assert!(!printed.contains("secret"), "{printed}");
    }
    let scene = Scene::new(refusal(500, body.len(), body));
    let failure = scene.failure(Call::get(Public, "/things")).await;
    assert!(failure.error_body::<Why>().is_none(), "no refusal");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_counts_however_much_and_slowly_it_is_said() {
    let long = format!("\"{}\"", "x".repeat(8 << 10));
    let gigabyte = 1 << 30;
    for (length, body) in [(long.len(), &*long), (gigabyte, ""), (100, "\"half")] {
        let scene = Scene::new(refusal(402, length, body));
        let began = Instant::now();
        let failure = scene.failure(Call::post(Public, "/things")).await;
        assert_eq!(
            failure.upstream_status().map(|s| s.as_u16()),
            Some(402),
            "{length}"
        );
        assert!(failure.error_body::<String>().is_none(), "{length}");
        assert_ne!(failure.error().code(), codes::OUTCOME_UNKNOWN, "{length}");
        assert!(began.elapsed() < Duration::from_millis(200), "{length}");
    }
    let whole = format!("\"{}\"", "x".repeat((8 << 10) - 2));
    let scene = Scene::new(refusal(402, whole.len(), &whole));
    let failure = scene.failure(Call::post(Public, "/things")).await;
    assert!(failure.error_body::<String>().is_some(), "8 KiB are read");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_refused_does_not_hide_why_it_was_needed() {
    let scene = Scene::with(refusal(500, 0, ""), |config| {
        config.circuit_breaker.consecutive_failures = std::num::NonZeroU32::MIN;
    });
    let first = scene.failure(Call::get(Public, "/things")).await;
    assert_eq!(first.reason(), Reason::BadResponse, "{first:?}");
    assert_eq!(first.retry_after(), None, "nor when the breaker closes");
    let second = scene.failure(Call::get(Public, "/things")).await;
    assert_eq!(second.reason(), Reason::CircuitOpen, "{second:?}");
    assert_eq!(scene.heard.lock().len(), 1, "nobody was asked again");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_made_says_how_the_call_failed() {
    let scene = Scene::with(refusal(500, 0, ""), |_| {});
    let failure = scene.failure(Call::get(Public, "/things")).await;
    assert_eq!(failure.reason(), Reason::BadResponse, "{failure:?}");
    assert_eq!(scene.heard.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn calls_that_never_reached_the_backend_save_up_no_extra_attempts() {
    let scene = Scene::with(refusal(500, 0, ""), |config| {
        config.circuit_breaker.consecutive_failures = std::num::NonZeroU32::MAX;
        config.circuit_breaker.min_calls = std::num::NonZeroU32::MAX;
        config.bulkhead.max_concurrent = std::num::NonZeroU32::MIN;
    });
    let ask = async |route: &'static str| {
        let request = RequestContext::background(scene.cx.shared(), Duration::from_secs(5));
        let sent = send::<serde_json::Value, _>(&request, &scene.up, Call::get(Public, route));
        sent.await.unwrap_err()
    };
    let refused = |failure: &Failure| failure.reason() == Reason::Overloaded;
    for n in 0..500 {
        let one_of_two = tokio::join!(ask("/one"), ask("/other"));
        assert!(refused(&one_of_two.1), "{n}: there is one place");
    }
    // 500 were needed, and every tenth of them pays for one more; so far three were lent, and paid back since.
    assert_eq!(scene.heard.lock().len(), 500 + 50);
}
