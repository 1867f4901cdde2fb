//! Forwards one request of a proxy route: checks, builds the upstream request, and returns the response.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bff_context::field_value;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use http_body::Body as _;
use tokio::time::Instant;

use super::admit::{AuthorizedRequest, admit, answer_max_forwards};
use super::body::{Upload, UploadLimits};
use super::config::Host;
use super::v1_format::ApiVersion;
use super::write_completion::UploadState;
use super::{Entry, Route, forwarded, headers, http_cache, response, v1_format, websocket};
use crate::action::IdempotencyKey;
use crate::context::CacheResult;
use crate::context::RequestContext;
use crate::error::{Error, codes};
use crate::inbound::{Peer, extract};
use crate::outbound::{
    self, ClientBodyError, Failure, ForwardRequest, ForwardResponse, RequestBody, RetryPolicy,
    retry,
};

/// Marks a response of a backend. The edge adds headers to it, and changes nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProxiedResponse;

/// The router's fallback. The edge has already looked up the route.
pub(crate) async fn fallback(mut request: Request) -> Response {
    // `OPTIONS *` asks whether the server is there (RFC 9110 §9.3.7).
    if request.uri().path() == "*" {
        return StatusCode::NO_CONTENT.into_response();
    }
    let Some(entry) = request.extensions_mut().remove::<Arc<Entry>>() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let result = Box::pin(handle(&entry, request)).await;
    result.unwrap_or_else(Error::into_response)
}

async fn handle(entry: &Arc<Entry>, mut request: Request) -> Result<Response, Error> {
    let route = &*entry.route;
    let admitted = admit(route, &mut request)?;
    if let Some(response) = answer_max_forwards(route, &mut request) {
        return Ok(response);
    }
    let upload = UploadState::default();
    let request = build_request(entry, &admitted, request, &upload).await?;
    if route.config.cache && http_cache::is_cacheable_request(&admitted, &request) {
        let mut response = http_cache::get_or_fetch(entry, &admitted, request).await?;
        response.extensions_mut().insert(ProxiedResponse);
        return Ok(response);
    }
    if request.method.is_safe() {
        return forward(route, admitted, &request, &upload).await;
    }
    let (entry, cx) = (entry.clone(), admitted.cx.clone());
    let tasks = route.context.shared.tasks.clone();
    let state = upload.clone();
    let write = async move {
        let result = forward(&entry.route, admitted, &request, &state).await;
        result.map_err(Failure::from)
    };
    Ok(upload.run(&cx, &tasks, write).await?)
}

/// Forwards a request that does not use the cache.
async fn forward(
    route: &Route,
    admitted: AuthorizedRequest,
    request: &ForwardRequest,
    upload: &UploadState,
) -> Result<Response, Error> {
    let result = outbound::forward(&admitted.cx, &route.upstream, request).await;
    upload.set_has_response();
    invalidate_cache(route, &admitted.cx, request, &result);
    let forwarded = result?;
    let mut response = if forwarded.response.status() == StatusCode::SWITCHING_PROTOCOLS {
        response::upgrade(route, admitted, forwarded)?
    } else {
        response::respond(route, &admitted, &request.method, forwarded).await?
    };
    if route.config.cache && request.method.is_safe() {
        http_cache::set_cache_status(&mut response, CacheResult::Bypass);
    }
    response.extensions_mut().insert(ProxiedResponse);
    Ok(response)
}

/// Invalidates the stored responses of the target of a write that was applied, or may have been.
fn invalidate_cache(
    route: &Route,
    cx: &RequestContext,
    request: &ForwardRequest,
    result: &Result<ForwardResponse, Failure>,
) {
    let may_be_applied = match result {
        Ok(forwarded) => !forwarded.response.status().is_client_error(),
        Err(failure) => failure.may_have_been_applied(),
    };
    if may_be_applied && !request.method.is_safe() {
        let at = (route.upstream.name(), request.target.as_str());
        let audience = cx.caller().map(bff_context::trusted::audience);
        let shared = &route.context.shared;
        let now = shared.env.unix_millis();
        (shared.cache).invalidate_forwarded_write(at, audience.as_ref(), now);
    }
}

/// Builds the request for the backend.
async fn build_request(
    entry: &Entry,
    admitted: &AuthorizedRequest,
    request: Request,
    upload: &UploadState,
) -> Result<ForwardRequest, Error> {
    let (route, cx) = (&*entry.route, &admitted.cx);
    let config = &route.config;
    let body_error = ClientBodyError::default();
    // HTTP/1.0 has no expectations (RFC 9110 §10.1.1).
    let expects = request.version() > Version::HTTP_10
        && headers::contains_token(request.headers(), &header::EXPECT, "100-continue");
    let has_key = matches!(IdempotencyKey::find(request.headers()), Ok(Some(_)));
    let may_retry = config.retries && retry::is_idempotent(request.method(), has_key);
    let (parts, body) = request.into_parts();
    let has_length = body.size_hint().exact().is_some();
    let handles = (upload.clone(), body_error.clone());
    let body = request_body(route, admitted, may_retry, (&parts, body), handles).await?;
    let streams = matches!(body, RequestBody::Streaming(_));
    if !streams {
        upload.mark_complete();
    }
    let target = target(entry, admitted.format, &parts);
    let mut headers = upstream_headers(route, cx, &parts);
    if admitted.format == ApiVersion::V1 {
        v1_format::request_identity_encoding(&mut headers);
    }
    if admitted.upgrade.is_some() {
        websocket::set_upgrade_headers(&mut headers);
    }
    if streams && !has_length {
        headers::set_chunked(&mut headers, &parts.method);
    }
    if streams && expects {
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    if matches!(&body, RequestBody::Buffered(bytes) if bytes.is_empty()) {
        headers::set_zero_content_length(&mut headers, &parts.method);
    }
    Ok(ForwardRequest {
        method: parts.method,
        target,
        headers,
        retry: match (config.retries, may_retry && !streams) {
            (false, _) => RetryPolicy::Never,
            (true, false) => RetryPolicy::IfUnsent,
            (true, true) => RetryPolicy::Idempotent,
        },
        attempt_timeout: config.attempt_timeout.or(streams.then_some(Duration::MAX)),
        expects_continue: streams && expects,
        http1_only: admitted.upgrade.is_some() || config.host_header == Host::Client,
        upgrade: admitted.upgrade.is_some(),
        body,
        client_error: body_error,
    })
}

/// The body: buffered if it may be retried or has to be converted, else streaming.
async fn request_body(
    route: &Route,
    admitted: &AuthorizedRequest,
    may_retry: bool,
    (parts, body): (&Parts, Body),
    handles: (UploadState, ClientBodyError),
) -> Result<RequestBody, Error> {
    let size = body.size_hint().exact();
    if size == Some(0) {
        return Ok(RequestBody::Buffered(Bytes::new()));
    }
    let convert = admitted.is_v1() && v1_format::is_json(&parts.headers);
    if convert && field_value::has_content_coding(&parts.headers) {
        let detail = "Content-Encoding is not supported for the v1 format.";
        return Err(Error::new(codes::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let small = size.is_some_and(|size| size <= route.config.retry_buffer_bytes as u64);
    let buffers = convert || (may_retry && small);
    if !buffers {
        let upload = Upload::new(body, upload_limits(route, &admitted.cx), handles);
        return Ok(RequestBody::streaming(Body::new(upload)));
    }
    let mut request = Request::new(body);
    *request.extensions_mut() = parts.extensions.clone();
    let bytes = extract::read(request).await?;
    if convert {
        let bytes = v1_format::convert_request(&bytes)?;
        return Ok(RequestBody::Buffered(bytes.into()));
    }
    Ok(RequestBody::Buffered(bytes))
}

fn upload_limits(route: &Route, cx: &RequestContext) -> UploadLimits {
    let config = &route.config;
    let attempt = config.attempt_timeout;
    let attempt = attempt.and_then(|limit| Instant::now().checked_add(limit));
    let deadline = cx.upstream_deadline();
    UploadLimits {
        max_bytes: route.max_body_bytes,
        idle_timeout: config.idle_timeout,
        deadline: attempt.map_or(deadline, |attempt| attempt.min(deadline)),
    }
}

/// Path and query for the backend.
fn target(entry: &Entry, format: ApiVersion, parts: &Parts) -> String {
    let mut target = entry.rewrite_path(parts.uri.path());
    if let Some(query) = parts.uri.query() {
        target.push('?');
        match format {
            ApiVersion::V1 => target.push_str(&v1_format::convert_query(query)),
            ApiVersion::Latest => target.push_str(query),
        }
    }
    target
}

/// The forwarded headers, and those that the gateway adds.
fn upstream_headers(route: &Route, cx: &RequestContext, parts: &Parts) -> HeaderMap {
    let host = authority(parts);
    let peer = parts.extensions.get::<Peer>().and_then(|peer| peer.0);
    let mut headers = headers::from_client(parts.headers.clone(), &route.config);
    let peer = peer.map(|peer| peer.ip());
    forwarded::set_forwarded_headers(&mut headers, peer, host.as_ref(), &route.context.trusted);
    headers::append_via(&mut headers, parts.version, cx.client());
    if let Some(caller) = cx.caller() {
        bff_context::trusted::identify(caller, &mut headers);
    }
    let host = host.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host.filter(|_| route.config.host_header == Host::Client) {
        headers.insert(header::HOST, host);
    }
    headers
}

/// The authority of the request. The edge has moved it into `Host`.
fn authority(parts: &Parts) -> Option<Authority> {
    let host = parts.headers.get(header::HOST)?;
    host.to_str().ok()?.parse().ok()
}
