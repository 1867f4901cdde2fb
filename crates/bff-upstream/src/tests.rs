//! Calls to a backend on an in-memory connection that sends a fixed response, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;
use crate::policies::policy::Policy;
use crate::policies::retry::RetryTraits;
use crate::policies::{budget, retry};
use bff_context::context::Env;
use bff_context::context::{Failure, Reason, RequestContext, SharedDeadline};
use bff_context::error::codes;
use bff_context::scope::Public;
use bff_runtime::net::{Connection, InMemoryNetwork, Net};

mod race;

/// A backend, the requests that it received, and a context for calls.
struct Scene {
    cx: RequestContext,
    up: Upstream,
    received: Arc<Mutex<Vec<String>>>,
    shared: Arc<GatewayHandles>,
}

impl Scene {
    /// A backend that answers every request with `response`, and leaves the connection open.
    fn new(response: impl Into<String>) -> Self {
        Self::with_config(response, |_| {})
    }

    /// The same with a changed configuration.
    fn with_config(response: impl Into<String>, change: impl FnOnce(&mut Config)) -> Self {
        let response = response.into();
        Self::with_backend(move |_| response.clone(), change)
    }

    /// A backend whose response depends on the request.
    fn with_backend(
        backend: impl Fn(&str) -> String + Send + Sync + 'static,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        crate::clients::trust_roots::install_tls_provider();
        let network = InMemoryNetwork::new(|_, _, pipe| Ok(Connection::InMemory(Box::new(pipe))));
        let received = Arc::default();
        tokio::spawn(respond(
            network.listen("backend:80"),
            Arc::new(backend),
            Arc::clone(&received),
        ));
        let shared = Arc::new(GatewayHandles::in_process(
            "test",
            Env::seeded(7, Net::InMemory(network)),
        ));
        let mut config = Config::at("http://backend".parse().unwrap());
        change(&mut config);
        let up = Upstream::new("backend", &config, &shared).unwrap();
        let cx = RequestContext::background(&shared.client, &shared.env, Duration::from_secs(5));
        Self {
            cx,
            up,
            received,
            shared,
        }
    }

    /// Another request.
    fn request(&self) -> RequestContext {
        let GatewayHandles { client, env, .. } = &*self.shared;
        RequestContext::background(client, env, Duration::from_secs(5))
    }

    async fn failure(&self, call: Call<Public>) -> Failure {
        let result = self.up.send::<serde_json::Value, _>(&self.cx, call).await;
        result.unwrap_err()
    }
}

async fn respond(
    mut listener: bff_runtime::net::Listener,
    backend: Arc<impl Fn(&str) -> String + Send + Sync + 'static>,
    received: Arc<Mutex<Vec<String>>>,
) {
    while let Some(mut connection) = listener.next().await {
        let (backend, received) = (backend.clone(), received.clone());
        tokio::spawn(async move {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(n @ 1..) = connection.read(&mut bytes).await {
                let request = String::from_utf8_lossy(&bytes[..n]).into_owned();
                let response = backend(&request);
                received.lock().push(request);
                connection.write_all(response.as_bytes()).await.unwrap();
            }
        });
    }
}

/// A value whose serialization fails with a secret in the error text.
struct FailsToSerialize;

impl Serialize for FailsToSerialize {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("secret"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_serialize_is_not_sent() {
    let scene = Scene::new("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let call = Call::post(Public, "/things").json(&FailsToSerialize);
    let failure = scene.failure(call).await;
    let error = failure.error();
    assert_eq!(error.code(), codes::INTERNAL, "not outcome_unknown");
    assert!(!format!("{failure:?}").contains("secret"));
    assert!(scene.received.lock().is_empty());
    let valid = Call::post(Public, "/things").json(&"body");
    let result = scene
        .up
        .send::<serde_json::Value, _>(&scene.cx, valid)
        .await;
    assert!(result.is_ok(), "{result:?}");
    assert!(scene.received.lock()[0].ends_with("\"body\""));
}

#[tokio::test(start_paused = true)]
async fn after_a_304_about_another_version_the_call_is_repeated_without_the_condition() {
    let backend = |request: &str| {
        let response = if request.contains("if-none-match: \"v1-gzip\"") {
            "HTTP/1.1 304 Not Modified\r\netag: \"v1\"\r\n\r\n"
        } else {
            "HTTP/1.1 200 OK\r\netag: \"v1-gzip\"\r\ncache-control: no-cache\r\n\
             content-length: 1\r\n\r\n7"
        };
        response.to_owned()
    };
    let scene = Scene::with_backend(backend, |_| {});
    for calls in [1, 3] {
        let call = Call::get(Public, "/things");
        let fetched = scene.up.send::<u8, _>(&scene.request(), call).await;
        assert_eq!(*fetched.unwrap().value, 7);
        assert_eq!(scene.received.lock().len(), calls);
    }
}

/// An error response that declares `length` bytes and sends `body`.
fn error_response(status: u16, length: usize, body: &str) -> String {
    format!("HTTP/1.1 {status} No\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_4xx_is_readable_and_never_printed() {
    #[derive(Deserialize)]
    struct Body {
        error: String,
    }
    let body = r#"{"error":"secret"}"#;
    for status in [402, 404, 409, 422] {
        let scene = Scene::new(error_response(status, body.len(), body));
        let failure = scene.failure(Call::post(Public, "/things")).await;
        assert_eq!(failure.error_body::<Body>().unwrap().error, "secret");
        assert!(failure.error_body::<Vec<u8>>().is_none(), "another shape");
        assert_eq!(failure.upstream_status().map(|s| s.as_u16()), Some(status));
        let printed = format!("{failure:?} {:?}", failure.error());
        assert!(!printed.contains("secret"), "{printed}");
    }
    let scene = Scene::new(error_response(500, body.len(), body));
    let failure = scene.failure(Call::get(Public, "/things")).await;
    assert!(failure.error_body::<Body>().is_none(), "a 5xx");
}

#[tokio::test(start_paused = true)]
async fn a_4xx_status_counts_even_if_its_body_is_too_long_or_too_slow() {
    let long = format!("\"{}\"", "x".repeat(8 << 10));
    let gigabyte = 1 << 30;
    for (length, body) in [(long.len(), &*long), (gigabyte, ""), (100, "\"half")] {
        let scene = Scene::new(error_response(402, length, body));
        let started = Instant::now();
        let failure = scene.failure(Call::post(Public, "/things")).await;
        assert_eq!(
            failure.upstream_status().map(|s| s.as_u16()),
            Some(402),
            "{length}"
        );
        assert!(failure.error_body::<String>().is_none(), "{length}");
        assert_ne!(failure.error().code(), codes::OUTCOME_UNKNOWN, "{length}");
        assert!(started.elapsed() < Duration::from_millis(200), "{length}");
    }
    let longest = format!("\"{}\"", "x".repeat((8 << 10) - 2));
    let scene = Scene::new(error_response(402, longest.len(), &longest));
    let failure = scene.failure(Call::post(Public, "/things")).await;
    assert!(failure.error_body::<String>().is_some(), "8 KiB are read");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_retry_does_not_hide_the_first_failure() {
    let scene = Scene::with_config(error_response(500, 0, ""), |config| {
        config.circuit_breaker.consecutive_failures = std::num::NonZeroU32::MIN;
    });
    let first = scene.failure(Call::get(Public, "/things")).await;
    assert_eq!(first.reason(), Reason::BadResponse, "{first:?}");
    assert_eq!(first.retry_after(), None, "not that of the breaker");
    let second = scene.failure(Call::get(Public, "/things")).await;
    assert_eq!(second.reason(), Reason::CircuitOpen, "{second:?}");
    assert_eq!(scene.received.lock().len(), 1, "there was no retry");
}

#[tokio::test(start_paused = true)]
async fn a_failed_retry_determines_the_failure() {
    let scene = Scene::with_config(error_response(500, 0, ""), |_| {});
    let failure = scene.failure(Call::get(Public, "/things")).await;
    assert_eq!(failure.reason(), Reason::BadResponse, "{failure:?}");
    assert_eq!(scene.received.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn unsent_calls_deposit_nothing_in_the_retry_budget() {
    let scene = Scene::with_config(error_response(500, 0, ""), |config| {
        config.circuit_breaker.consecutive_failures = std::num::NonZeroU32::MAX;
        config.circuit_breaker.min_calls = std::num::NonZeroU32::MAX;
        config.bulkhead.max_concurrent = std::num::NonZeroU32::MIN;
    });
    let failed_call = async |route: &'static str| {
        let cx = scene.request();
        let call = Call::get(Public, route);
        let result = scene.up.send::<serde_json::Value, _>(&cx, call).await;
        result.unwrap_err()
    };
    for n in 0..500 {
        let (_, rejected) = tokio::join!(failed_call("/one"), failed_call("/other"));
        assert_eq!(
            rejected.reason(),
            Reason::Overloaded,
            "{n}: there is one slot"
        );
    }
    // 500 first attempts, and one retry for every ten of them. The three of the reserve are paid back by now.
    assert_eq!(scene.received.lock().len(), 500 + 50);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_head_is_a_bad_response_and_not_an_unreachable_backend() {
    let many = |n: usize| "x: 1\r\n".repeat(n);
    for (head, reason) in [
        (
            "HTTP/1.1 200 OK\r\nbad name: 1\r\n".to_owned(),
            Some(Reason::BadResponse),
        ),
        (
            "HTTP/1.1 200 OK\r\na: 1\r\n b\r\n".to_owned(),
            Some(Reason::BadResponse),
        ),
        ("SIP/2.0 200 OK\r\n".to_owned(), Some(Reason::BadResponse)),
        (
            format!("HTTP/1.1 200 OK\r\n{}", many(300)),
            Some(Reason::BadResponse),
        ),
        (format!("HTTP/1.1 200 OK\r\n{}", many(200)), None),
    ] {
        let scene = Scene::new(format!("{head}content-length: 1\r\n\r\n7"));
        let call = Call::get(Public, "/things");
        let result = scene.up.send::<u8, _>(&scene.cx, call).await;
        assert_eq!(
            result.err().map(|failure| failure.reason()),
            reason,
            "{head}"
        );
    }
}
