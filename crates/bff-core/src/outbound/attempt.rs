//! One attempt: the request as it leaves, the answer as it is judged.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;

use super::{Call, Config, Failure, Reason, Upstream, body, freshness};
use crate::context::request_id::X_REQUEST_ID;
use crate::context::urgency::PRIORITY;
use crate::context::{Cx, RequestTimeout, deadline::REQUEST_TIMEOUT};
use crate::net::{Dial, Net};
use crate::scope::{Scope, X_CLIENT};

/// The client of one backend: its own pool, over whichever network.
pub(super) type Client = hyper_util::client::legacy::Client<HttpsConnector<Dial>, Full<Bytes>>;

/// A client over `net`. Idle connections need a timer of their own to expire.
pub(super) fn client(config: &Config, net: &Net) -> Client {
    let connector = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(Dial::new(net.clone(), config.connect_timeout));
    hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(config.idle_timeout)
        .build(connector)
}

/// Sends the call once and decodes its answer; says how long the answer may be kept.
///
/// The body is decoded here so that every policy around an attempt sees a bad body as a failure.
pub(super) async fn attempt<T: DeserializeOwned, S: Scope>(
    cx: &Cx,
    up: &Upstream,
    call: &Call<S>,
    time: Duration,
) -> Result<(T, Duration), Failure> {
    let config = &up.0.config;
    let request = request(cx, config, call, time)?;
    let response = up.0.client.request(request).await.map_err(unreachable)?;
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return Err(refusal(head.status, &head.headers, call));
    }
    let body = body::read(&head.headers, body, config.max_body_bytes).await?;
    let text: &[u8] = if body.is_empty() { b"null" } else { &body };
    // serde_json refuses more than 128 levels of nesting by itself.
    let value = serde_json::from_slice(text).map_err(|error| {
        Failure::new(Reason::BadResponse).because(format!("the body does not decode: {error}"))
    })?;
    Ok((value, freshness::left(&head.headers)))
}

fn request<S: Scope>(
    cx: &Cx,
    config: &Config,
    call: &Call<S>,
    time: Duration,
) -> Result<Request<Full<Bytes>>, Failure> {
    let uri = config.url.join(call.path()).map_err(Failure::internal)?;
    let mut request = Request::new(Full::new(call.body().cloned().unwrap_or_default()));
    *request.method_mut() = call.method().clone();
    *request.uri_mut() = uri;
    let mut headers = HeaderMap::with_capacity(14);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if call.body().is_some() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    headers.insert(X_REQUEST_ID, cx.request_id().header());
    headers.insert(REQUEST_TIMEOUT, RequestTimeout::header(time));
    headers.insert(PRIORITY, cx.urgency().header());
    headers.insert(X_CLIENT, cx.shared().client.clone());
    cx.trace().propagate(&mut headers, cx.world());
    call.identify(&mut headers);
    *request.headers_mut() = headers;
    Ok(request)
}

/// Nothing was answered: refused, reset, or a handshake that failed.
fn unreachable(error: hyper_util::client::legacy::Error) -> Failure {
    let cause = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    let failure = Failure::new(Reason::Unavailable).because(cause);
    if error.is_connect() {
        failure.unsent()
    } else {
        failure
    }
}

/// What a backend's refusal means to our client.
fn refusal<S: Scope>(status: StatusCode, headers: &HeaderMap, call: &Call<S>) -> Failure {
    let reason = match status.as_u16() {
        404 if call.is_of_one_thing() && !call.is_write() => Reason::NotFound,
        403 if S::PERSONAL => Reason::Forbidden,
        429 => Reason::Overloaded,
        503 => Reason::Unavailable,
        _ => Reason::BadResponse,
    };
    let retry_after = headers
        .get(header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    Failure::new(reason)
        .status(status)
        .retry_after(retry_after)
        .because(format!("it answered {status}"))
}
