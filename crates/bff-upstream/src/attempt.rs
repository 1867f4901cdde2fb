//! One attempt over HTTP: builds the request, sends it, and maps the response to a value or a [`Failure`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::call::Call;
use crate::clients::stream::InstanceClients;
use crate::config::Config;
use crate::decode::{self, DecodeError, Decoded};
use bff_cache::{DecodedBody, FetchContext, FetchResult, FullResponse};
use bff_context::context::request_id::X_REQUEST_ID;
use bff_context::context::urgency::PRIORITY;
use bff_context::context::{
    Failure, Reason, RequestContext, RequestTimeout, deadline::REQUEST_TIMEOUT,
};
use bff_context::scope::{Scope, X_CLIENT};
use bff_runtime::net::Env;

/// Sends the call once and decodes the response body, unless a 304 confirms the cached response.
///
/// The body is decoded here, so that every policy around the attempt counts a damaged body as a failure. A body of JSON
/// that does not fit its type is a response like a 4xx: the backend works, and a retry returns the same.
pub(super) async fn attempt<T: DeserializeOwned, S: Scope>(
    (cx, env): (&RequestContext, &Env),
    config: &Config,
    clients: &InstanceClients,
    call: &Call<S>,
    fetch: Option<&FetchContext>,
    timeout: Duration,
) -> Result<FetchResult<T>, Failure> {
    let mut started = Instant::now();
    let mut request = build_request((cx, env), config, call, timeout)?;
    let conditional = fetch.filter(|fetch| fetch.add_validators(request.headers_mut()));
    let max_bytes = config.max_body_bytes;
    let (mut head, mut body) = clients.exchange_buffered(request, max_bytes).await?;
    if let (Some(fetch), StatusCode::NOT_MODIFIED) = (conditional, head.status) {
        if fetch.is_about_stored(&head.headers) {
            return Ok(FetchResult::NotModified(
                head.headers,
                Instant::now() - started,
            ));
        }
        // It is about another version: ask again without the condition (RFC 9111 §4.3.4).
        started = Instant::now();
        let request = build_request((cx, env), config, call, timeout)?;
        (head, body) = clients.exchange_buffered(request, max_bytes).await?;
    }
    if !head.status.is_success() {
        // The body of a 5xx describes the backend's own fault, so no client code reads it.
        let rejected = head.status.is_client_error();
        let error_body = if rejected { body } else { Bytes::new() };
        let failure = failure_from_status(head.status, &head.headers, env.now(), call)
            .with_response(head.status, error_body);
        return Err(match failure.reason() {
            Reason::NotFound => failure.with_response_headers(head.headers),
            _ => failure,
        });
    }
    let Decoded { value, omitted } = decode::decode(&body).map_err(|error| {
        let failure = Failure::new(Reason::BadResponse).with_cause(error.to_string());
        match error {
            DecodeError::NotJson(_) => failure,
            DecodeError::Value(_) => failure.with_response(head.status, Bytes::new()),
        }
    })?;
    Ok(FetchResult::Full(FullResponse {
        value: Arc::new(value),
        omitted,
        status: head.status,
        head: head.headers,
        bytes: body.len(),
        body,
        response_delay: Instant::now() - started,
    }))
}

/// Decodes a cached body. The body was decoded successfully before, here or in another replica.
pub(super) fn decode_cached<T>(body: &[u8]) -> Option<DecodedBody>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    let Decoded { value, omitted } = decode::decode::<T>(body).ok()?;
    Some(DecodedBody::new(value, omitted))
}

fn build_request<S: Scope>(
    (cx, env): (&RequestContext, &Env),
    config: &Config,
    call: &Call<S>,
    timeout: Duration,
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
    propagate(cx, env, timeout, &mut headers);
    call.add_identity_headers(&mut headers);
    *request.headers_mut() = headers;
    Ok(request)
}

/// Adds the headers of every call: request id, trace context, remaining time, urgency and client class.
pub(super) fn propagate(
    cx: &RequestContext,
    env: &Env,
    timeout: Duration,
    headers: &mut HeaderMap,
) {
    headers.insert(X_REQUEST_ID, cx.request_id().header());
    headers.insert(REQUEST_TIMEOUT, RequestTimeout::header(timeout));
    headers.insert(PRIORITY, cx.urgency().header());
    headers.insert(X_CLIENT, cx.client().clone());
    cx.trace().propagate(headers, env);
}

/// The failure for an unsuccessful status.
fn failure_from_status<S: Scope>(
    status: StatusCode,
    headers: &HeaderMap,
    now: SystemTime,
    call: &Call<S>,
) -> Failure {
    let reason = match status.as_u16() {
        404 if call.is_single_resource() && !call.is_write() => Reason::NotFound,
        403 if S::PERSONAL => Reason::Forbidden,
        429 => Reason::Overloaded,
        503 => Reason::Unavailable,
        _ => Reason::BadResponse,
    };
    Failure::new(reason)
        .with_retry_after(retry_after(headers, now))
        .with_cause(format!("the backend responded with {status}"))
}

/// The longest `Retry-After` that counts; a longer one is shortened.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The delay of `Retry-After` (RFC 9110 §10.2.3): a number of seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Only a number that is too large does not parse.
        text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(delay.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date_in_three_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:00 GMT").unwrap();
        for (text, seconds) in [
            ("7", Some(7)),
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("99999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:48:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            let delay = retry_after(&headers, now).map(|delay| delay.as_secs());
            assert_eq!(delay, seconds, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
