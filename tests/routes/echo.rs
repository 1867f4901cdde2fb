//! A backend that returns the request it received, behind a proxy route; and the headers that must not reach it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::echoed;
use crate::support::TestFleet;

/// The size of one body chunk: 1 MiB.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Starts web with a route `/echo` to the echo backend.
pub(crate) async fn start(route: &str) -> TestFleet {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, backend()).await });
    start_with_upstream(&format!("url = \"http://{address}\""), route).await
}

/// Starts web with a route `/echo` to the upstream with this configuration.
pub(super) async fn start_with_upstream(order: &str, route: &str) -> TestFleet {
    let overlay = format!(
        "[upstreams.order]\n{order}\n[routes.echo]\nprefixes = [\"/echo\"]\nupstream = \"order\"\n\
         strip_prefix = \"/echo\"\nmethods = [\"GET\", \"POST\", \"PUT\"]\nallow_anonymous = true\n{route}\n"
    );
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".into()];
        fleet.overlays.insert("web".into(), overlay);
    })
    .await
}

pub(super) fn backend() -> Router {
    Router::new()
        .route("/count", any(count))
        .route("/flood", any(flood))
        .route("/silent", any(silent))
        .route("/tunnel", any(websocket))
        .route("/tagged", any(tagged))
        .route("/weak", any(weak_etag))
        .route("/refuse", any(|| async { StatusCode::FORBIDDEN }))
        .route("/trailed", any(with_trailers))
        .fallback(any(echo))
}

async fn echo(request: Request) -> Response {
    let mut headers = Map::new();
    for (name, value) in request.headers() {
        let value = value.to_str().unwrap_or("?");
        let entry = headers
            .entry(name.as_str())
            .or_insert(Value::String(String::new()));
        let joined = match entry.as_str() {
            Some("") => value.to_owned(),
            Some(before) => format!("{before}, {value}"),
            None => String::new(),
        };
        *entry = joined.into();
    }
    let uri = request.uri().to_string();
    let method = request.method().to_string();
    let version = format!("{:?}", request.version());
    axum::Json(json!({"method": method, "uri": uri, "headers": headers, "version": version}))
        .into_response()
}

async fn count(request: Request) -> String {
    let mut chunks = request.into_body().into_data_stream();
    let mut count = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        count += chunk.len();
    }
    count.to_string()
}

async fn flood() -> Body {
    let chunk = Bytes::from(vec![7; CHUNK_BYTES]);
    Body::from_stream(stream::iter(0..100).map(move |_| Ok::<_, std::io::Error>(chunk.clone())))
}

/// A backend that never responds and records the bytes it receives, and whether the connection was closed.
#[derive(Clone, Default)]
pub(super) struct RecordingBackend(Arc<Mutex<(String, bool)>>);

impl RecordingBackend {
    /// Accepts one connection. Returns the URL.
    pub(super) async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = self.0.clone();
        tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = client.read(&mut bytes).await {
                received.lock().0 += &String::from_utf8_lossy(&bytes[..n]);
            }
            received.lock().1 = true;
        });
        format!("http://{address}")
    }

    pub(super) fn received_text(&self) -> String {
        self.0.lock().0.clone()
    }

    /// Whether the gateway has closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.0.lock().1
    }
}

/// Sends one chunk and then nothing.
async fn silent() -> Body {
    let chunk = stream::iter([Ok::<_, std::io::Error>("a")]);
    Body::from_stream(chunk.chain(stream::pending()))
}

async fn websocket(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.unwrap());
        let mut bytes = [0; 256];
        while let Ok(n @ 1..) = io.read(&mut bytes).await {
            io.write_all(&bytes[..n]).await.unwrap();
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response
        .headers_mut()
        .insert(header::CONNECTION, "upgrade".parse().unwrap());
    response
        .headers_mut()
        .insert(header::UPGRADE, "websocket".parse().unwrap());
    response
}

/// Handles conditional and range requests.
async fn tagged(headers: HeaderMap) -> Response {
    let mut response = if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|t| t == "\"a\"")
    {
        StatusCode::NOT_MODIFIED.into_response()
    } else if headers.contains_key(header::RANGE) {
        let range = [(header::CONTENT_RANGE, "bytes 0-1/4")];
        (StatusCode::PARTIAL_CONTENT, range, "ab").into_response()
    } else {
        let fields = [
            ("connection", "x-secret"),
            ("x-secret", "1"),
            ("x-fine", "2"),
        ];
        (fields, [("set-cookie", "a=b")], "abcd").into_response()
    };
    response
        .headers_mut()
        .insert(header::ETAG, "\"a\"".parse().unwrap());
    response
}

/// A response with a weak `ETag` and without a length.
async fn weak_etag(headers: HeaderMap) -> Response {
    let tag = [(header::ETAG, "W/\"b\"")];
    match headers.get(header::IF_NONE_MATCH) {
        Some(etag) if etag == "W/\"b\"" => (StatusCode::NOT_MODIFIED, tag).into_response(),
        _ => (
            tag,
            Body::from_stream(stream::iter([Ok::<_, std::io::Error>("abcd")])),
        )
            .into_response(),
    }
}

async fn with_trailers() -> Response {
    let mut sum = HeaderMap::new();
    sum.insert("x-sum", "1".parse().unwrap());
    let frames = [Frame::data(Bytes::from("abcd")), Frame::trailers(sum)];
    let frames = stream::iter(frames.map(Ok::<_, std::io::Error>));
    ([("trailer", "x-sum")], Body::new(StreamBody::new(frames))).into_response()
}

#[tokio::test]
async fn identity_headers_come_from_the_gateway_only() {
    let fleet = start("").await;
    let ada = fleet.bearer("ada");
    let headers = [
        ("authorization", ada.as_str()),
        ("cookie", "session=1"),
        ("x-user-id", "root"),
        ("x-user-role", "ADMIN"),
        ("x_user_id", "root"),
        ("x-client", "tv"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-http-method-override", "DELETE"),
        ("connection", "x-private"),
        ("x-private", "1"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic x"),
        ("x-request-id", "r-1"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("accept-language", "de"),
        ("x-custom", "kept"),
    ];
    let response = fleet.get_with("web", "/echo/a/b?c=d&c=e", &headers).await;
    assert_eq!(response.status, 200, "{}", response.body);
    assert_eq!(response.body["uri"], "/a/b?c=d&c=e");
    for removed in [
        "authorization",
        "cookie",
        "x_user_id",
        "x-http-method-override",
        "x-private",
        "te",
        "proxy-authorization",
    ] {
        assert_eq!(echoed(&response, removed), "", "{removed}");
    }
    for (name, value) in [
        ("x-user-id", "ada"),
        ("x-client", "web"),
        ("x-request-id", "r-1"),
        ("accept-language", "de"),
        ("x-custom", "kept"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(echoed(&response, name), value, "{name}");
    }
    assert!(!echoed(&response, "x-user-role").contains("ADMIN"));
    assert!(echoed(&response, "traceparent").contains("0af7651916cd43dd8448eb211c80319c"));
    assert!(echoed(&response, "forwarded").starts_with("for=127.0.0.1;proto=http;host="));
    assert!(echoed(&response, "via").contains("web"));
    let remaining: u64 = echoed(&response, "request-timeout").parse().unwrap();
    assert!((1..=2000).contains(&remaining), "{remaining}");
    let anonymous = fleet
        .get_with("web", "/echo/x", &[("x-user-id", "root")])
        .await;
    assert_eq!(echoed(&anonymous, "x-user-id"), "");
}

#[tokio::test]
async fn conditional_and_range_responses_pass_unchanged() {
    let fleet = start("").await;
    let full = fleet.get("web", "/echo/tagged").await;
    assert_eq!((full.status.as_u16(), full.header("etag")), (200, "\"a\""));
    assert_eq!((full.header("x-fine"), full.header("x-secret")), ("2", ""));
    assert_eq!(
        full.header("set-cookie"),
        "",
        "a cookie is a credential, so it is removed"
    );
    let unchanged = fleet
        .get_with("web", "/echo/tagged", &[("if-none-match", "\"a\"")])
        .await;
    assert_eq!(
        (unchanged.status.as_u16(), unchanged.header("etag")),
        (304, "\"a\"")
    );
    let part = fleet
        .get_with("web", "/echo/tagged", &[("range", "bytes=0-1")])
        .await;
    assert_eq!(
        (part.status.as_u16(), part.header("content-range")),
        (206, "bytes 0-1/4")
    );
    let head = fleet
        .http
        .head(format!("{}/echo/tagged", fleet.running.url("web")));
    let head = crate::support::send(head).await;
    assert_eq!(head.headers()["content-length"], "4");
    assert!(head.headers().contains_key("x-request-id"));
}

#[tokio::test]
async fn a_route_limits_the_body_size_and_media_type() {
    let fleet = start("content_types = [\"text/plain\"]\nmax_body_bytes = 1000").await;
    let url = format!("{}/echo/count", fleet.running.url("web"));
    let post = |media: &'static str, body: Body| {
        let request = fleet.http.post(&url).header("content-type", media);
        let body = reqwest::Body::wrap_stream(body.into_data_stream());
        async { crate::support::try_send(request.body(body)).await }
    };
    let chunks = |n: usize| {
        Body::from_stream(
            stream::iter(0..n).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![1; 100]))),
        )
    };
    let accepted = post("text/plain; charset=utf-8", chunks(10)).await.unwrap();
    assert_eq!(
        (accepted.status().as_u16(), accepted.text().await.unwrap()),
        (200, "1000".to_owned())
    );
    assert_eq!(post("text/plain", chunks(11)).await.unwrap().status(), 413);
    assert_eq!(post("text/html", chunks(1)).await.unwrap().status(), 415);
    let too_long = fleet
        .http
        .post(&url)
        .header("content-type", "text/plain")
        .body(vec![1; 1001]);
    assert_eq!(crate::support::send(too_long).await.status(), 413);
}
