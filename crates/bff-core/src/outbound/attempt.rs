//! One attempt: the request as it leaves, the answer as it is judged.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use serde::de::DeserializeOwned;

use super::client::Client;
use super::{Call, Config, Failure, Reason};
use crate::cache::{FetchContext, FetchResult, FullResponse};
use crate::context::request_id::X_REQUEST_ID;
use crate::context::urgency::PRIORITY;
use crate::context::{RequestContext, RequestTimeout, deadline::REQUEST_TIMEOUT};
use crate::net;
use crate::scope::{Scope, X_CLIENT};

/// Sends the call once and decodes its answer, unless a copy that is held turns out to be good still.
///
/// The body is decoded here so that every policy around an attempt sees a bad body as a failure.
pub(super) async fn attempt<T: DeserializeOwned, S: Scope>(
    cx: &RequestContext,
    config: &Config,
    client: &Client,
    call: &Call<S>,
    fetch: Option<&FetchContext>,
    time: Duration,
) -> Result<FetchResult<T>, Failure> {
    let asked = net::now();
    let mut request = request(cx, config, call, time)?;
    let conditional = fetch.is_some_and(|fetch| fetch.condition(request.headers_mut()));
    let (head, body) = client.exchange(request, config.max_body_bytes).await?;
    if conditional && head.status == StatusCode::NOT_MODIFIED {
        return Ok(FetchResult::NotModified(head.headers, net::now() - asked));
    }
    if !head.status.is_success() {
        // What is said about a failure of its own is nobody's to read.
        let refused = head.status.is_client_error();
        let said = if refused { body } else { Bytes::new() };
        let failure =
            failure_from_status(head.status, &head.headers, call).with_response(head.status, said);
        return Err(match failure.reason() {
            Reason::NotFound => failure.with_response_headers(head.headers),
            _ => failure,
        });
    }
    let value = decode(&body).map_err(|error| {
        Failure::new(Reason::BadResponse).with_cause(format!("the body does not decode: {error}"))
    })?;
    Ok(FetchResult::Full(FullResponse {
        value: Arc::new(value),
        status: head.status,
        head: head.headers,
        bytes: body.len(),
        body,
        took: net::now() - asked,
    }))
}

/// The value of a body that decoded before, here or in another replica.
pub(super) fn decode_cached<T>(body: &[u8]) -> Option<Arc<dyn Any + Send + Sync>>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    decode::<T>(body).ok().map(|value| Arc::new(value) as _)
}

/// JSON, or nothing, which is null. `serde_json` refuses more than 128 levels of nesting by itself.
fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    // Checked as a whole, which is cheaper than string by string.
    match std::str::from_utf8(body) {
        Ok("") => serde_json::from_str("null"),
        Ok(text) => serde_json::from_str(text),
        // It says where the text breaks.
        Err(_) => serde_json::from_slice(body),
    }
}

fn request<S: Scope>(
    cx: &RequestContext,
    config: &Config,
    call: &Call<S>,
    time: Duration,
) -> Result<Request<Full<Bytes>>, Failure> {
    let target = config.url.origin_form(call.path());
    let target = target.map_err(|error| Failure::internal(error).not_sent())?;
    let body = call.body()?;
    let mut request = Request::new(Full::new(body.cloned().unwrap_or_default()));
    *request.method_mut() = call.method().clone();
    *request.uri_mut() = target.into();
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if body.is_some() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    propagate(cx, time, &mut headers);
    call.add_identity_headers(&mut headers);
    *request.headers_mut() = headers;
    Ok(request)
}

/// What goes along on every call: the request's id and trace, the time left for it, its urgency, the client class.
pub(super) fn propagate(cx: &RequestContext, time: Duration, headers: &mut HeaderMap) {
    headers.insert(X_REQUEST_ID, cx.request_id().header());
    headers.insert(REQUEST_TIMEOUT, RequestTimeout::header(time));
    headers.insert(PRIORITY, cx.urgency().header());
    headers.insert(X_CLIENT, cx.shared().client.clone());
    cx.trace().propagate(headers, cx.world());
}

/// What a backend's refusal means to our client.
fn failure_from_status<S: Scope>(
    status: StatusCode,
    headers: &HeaderMap,
    call: &Call<S>,
) -> Failure {
    let reason = match status.as_u16() {
        404 if call.is_of_one_thing() && !call.is_write() => Reason::NotFound,
        403 if S::PERSONAL => Reason::Forbidden,
        429 => Reason::Overloaded,
        503 => Reason::Unavailable,
        _ => Reason::BadResponse,
    };
    Failure::new(reason)
        .with_retry_after(retry_after(headers))
        .with_cause(format!("it answered {status}"))
}

/// When a backend wants to be asked again, said in seconds (RFC 9110 §10.2.3).
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}
