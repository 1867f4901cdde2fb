//! Tests of the backends over in-memory pipes, with a paused clock.

mod auth;
mod catalogue;
mod faults;
mod orders;
mod playback;
mod process;
mod stats;
mod users;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::{Backend, Mocks, Options, connection, control_connection};

/// The port that a test calls.
#[derive(Clone, Copy)]
enum Port {
    Of(Backend),
    Control,
}

impl From<Backend> for Port {
    fn from(backend: Backend) -> Self {
        Self::Of(backend)
    }
}

fn mocks() -> Mocks {
    Mocks::new(Options {
        seed: 7,
        issuer: "http://issuer.test".to_owned(),
        epoch: time::macros::datetime!(2026-11-23 10:00 UTC),
    })
}

type Sender = http1::SendRequest<Full<Bytes>>;

/// Connects a client to a backend over a pipe.
async fn connect(mocks: &Mocks, port: impl Into<Port>) -> Sender {
    let (near, far) = tokio::io::duplex(16 << 10);
    let (mocks, port) = (mocks.clone(), port.into());
    tokio::spawn(async move {
        match port {
            Port::Of(backend) => connection(&mocks, backend, far).await,
            Port::Control => control_connection(&mocks, far).await,
        }
    });
    let (sender, driver) = http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(driver);
    sender
}

/// A request as text: `GET /path`, then `name: value` lines.
fn request(line: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let (method, path) = line.split_once(' ').unwrap();
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "mock");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::from(body.to_owned())).unwrap()
}

async fn send(
    mocks: &Mocks,
    port: impl Into<Port>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    connect(mocks, port).await.send_request(request).await
}

/// A response with its complete body.
struct TestResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl TestResponse {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

async fn call(
    mocks: &Mocks,
    port: impl Into<Port>,
    line: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> TestResponse {
    let response = send(mocks, port, request(line, headers, body))
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    TestResponse {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

async fn get(mocks: &Mocks, port: impl Into<Port>, path: &str) -> TestResponse {
    call(mocks, port, &format!("GET {path}"), &[], "").await
}

/// Waits until all ready tasks have run; the clock is paused.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn texts<'a>(value: &'a Value, list: &str, field: &str) -> Vec<&'a str> {
    let items = value[list].as_array().unwrap().iter();
    items.map(|item| item[field].as_str().unwrap()).collect()
}
