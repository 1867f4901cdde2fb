//! One request through one route: may it pass, and what goes along.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;

use super::admit::{AuthorizedRequest, admit, answer_max_forwards};
use super::body::Upload;
use super::config::Host;
use super::v1_format::ApiVersion;
use super::write_completion::UploadState;
use super::{Entry, Route, forwarded, headers, http_cache, response, v1_format, websocket};
use crate::context::CacheResult;
use crate::context::RequestContext;
use crate::error::{Error, codes};
use crate::inbound::{Peer, extract};
use crate::outbound::{
    self, ClientBodyError, Failure, ForwardRequest, ForwardResponse, RequestBody, RetryPolicy,
    retry,
};

/// Marks an answer that is a backend's own: the edge adds to it, and changes nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProxiedResponse;

/// The router's fallback. The edge has found the route already, if there is one.
pub(crate) async fn fallback(mut request: Request) -> Response {
    let Some(entry) = request.extensions_mut().remove::<Arc<Entry>>() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let passed = Box::pin(handle(&entry, request)).await;
    passed.unwrap_or_else(Error::into_response)
}

async fn handle(entry: &Arc<Entry>, mut request: Request) -> Result<Response, Error> {
    let route = &*entry.route;
    let admitted = admit(route, &mut request)?;
    if let Some(answer) = answer_max_forwards(route, &mut request) {
        return Ok(answer);
    }
    let coming = UploadState::default();
    let passage = build_request(entry, &admitted, request, &coming).await?;
    if route.config.cache && http_cache::is_cacheable_request(&admitted, &passage) {
        let mut response = http_cache::answer(entry, &admitted, passage).await?;
        response.extensions_mut().insert(ProxiedResponse);
        return Ok(response);
    }
    if passage.method.is_safe() {
        return forward(route, admitted, &passage).await;
    }
    let (entry, cx) = (entry.clone(), admitted.cx.clone());
    let tasks = route.around.shared.tasks.clone();
    let write = async move {
        let done = forward(&entry.route, admitted, &passage).await;
        done.map_err(Failure::from)
    };
    Ok(coming.run(&cx, &tasks, write).await?)
}

/// What the backend answers to a request that is not for the cache.
async fn forward(
    route: &Route,
    admitted: AuthorizedRequest,
    passage: &ForwardRequest,
) -> Result<Response, Error> {
    let answer = outbound::forward(&admitted.cx, &route.upstream, passage).await;
    invalidate_cache(route, &admitted.cx, passage, &answer);
    let answer = answer?;
    let mut response = if answer.response.status() == StatusCode::SWITCHING_PROTOCOLS {
        response::upgrade(route, admitted, answer)?
    } else {
        response::respond(route, &admitted, &passage.method, answer).await?
    };
    if route.config.cache && passage.method.is_safe() {
        http_cache::set_cache_status(&mut response, CacheResult::Bypass);
    }
    response.extensions_mut().insert(ProxiedResponse);
    Ok(response)
}

/// A write that was, or may have been, done outdates what is kept of its address.
fn invalidate_cache(
    route: &Route,
    cx: &RequestContext,
    passage: &ForwardRequest,
    answer: &Result<ForwardResponse, Failure>,
) {
    let done = match answer {
        Ok(answer) => !answer.response.status().is_client_error(),
        Err(failure) => failure.may_have_been_applied(),
    };
    if done && !passage.method.is_safe() {
        let at = (route.upstream.name(), passage.target.as_str());
        let audience = cx.caller().map(bff_context::trusted::audience);
        let shared = &route.around.shared;
        let now = shared.env.unix_millis();
        (shared.cache).invalidate_forwarded_write(at, audience.as_ref(), now);
    }
}

/// The request as the backend gets it.
async fn build_request(
    entry: &Entry,
    admitted: &AuthorizedRequest,
    request: Request,
    coming: &UploadState,
) -> Result<ForwardRequest, Error> {
    let (route, cx) = (&*entry.route, &admitted.cx);
    let config = &route.config;
    let spoilt = ClientBodyError::default();
    let expects = headers::contains_token(request.headers(), header::EXPECT, "100-continue");
    let keyed = request.headers().contains_key("idempotency-key");
    let harmless = config.retries && retry::is_idempotent(request.method(), keyed);
    let (parts, body) = request.into_parts();
    let told = (coming.clone(), spoilt.clone());
    let load = request_body(route, admitted.format, harmless, (&parts, body), told).await?;
    let streams = matches!(load, RequestBody::Streaming(_));
    if !streams {
        coming.mark_complete();
    }
    let target = target(entry, admitted.format, &parts);
    let mut headers = upstream_headers(route, cx, &parts);
    if admitted.format == ApiVersion::V1 {
        v1_format::request_identity_encoding(&mut headers);
    }
    if admitted.upgrade.is_some() {
        websocket::set_upgrade_headers(&mut headers);
    }
    if streams && expects {
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    if matches!(&load, RequestBody::Buffered(bytes) if bytes.is_empty()) {
        headers::set_zero_content_length(&mut headers, &parts.method);
    }
    Ok(ForwardRequest {
        method: parts.method,
        target,
        headers,
        retry: match (config.retries, harmless && !streams) {
            (false, _) => RetryPolicy::Never,
            (true, false) => RetryPolicy::IfUnsent,
            (true, true) => RetryPolicy::Idempotent,
        },
        attempt_timeout: config.attempt_timeout.or(streams.then_some(Duration::MAX)),
        expects_continue: streams && expects,
        http1_only: admitted.upgrade.is_some() || config.host_header == Host::Client,
        upgrade: admitted.upgrade.is_some(),
        body: load,
        client_error: spoilt,
    })
}

/// The body: read, where it may have to be sent again or is to be translated; else as it comes.
async fn request_body(
    route: &Route,
    format: ApiVersion,
    harmless: bool,
    (parts, body): (&Parts, Body),
    told: (UploadState, ClientBodyError),
) -> Result<RequestBody, Error> {
    let size = body.size_hint().exact();
    if size == Some(0) {
        return Ok(RequestBody::Buffered(Bytes::new()));
    }
    let translated = format == ApiVersion::V1 && v1_format::is_json(&parts.headers);
    if translated && parts.headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "A body of the old format is in no encoding.";
        return Err(Error::new(codes::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let small = size.is_some_and(|size| size <= route.config.retry_buffer_bytes as u64);
    let keeps = translated || harmless && small;
    if !keeps {
        let idle = route.config.idle_timeout;
        let upload = Upload::new(body, route.max_body_bytes, idle, told);
        return Ok(RequestBody::streaming(Body::new(upload)));
    }
    let mut whole = Request::new(body);
    *whole.extensions_mut() = parts.extensions.clone();
    let bytes = extract::read(whole).await?;
    if translated {
        return Ok(RequestBody::Buffered(v1_format::request(&bytes)?.into()));
    }
    Ok(RequestBody::Buffered(bytes))
}

/// Path and query at the backend.
fn target(entry: &Entry, format: ApiVersion, parts: &Parts) -> String {
    let mut target = entry.rewritten(parts.uri.path());
    if let Some(query) = parts.uri.query() {
        target.push('?');
        match format {
            ApiVersion::V1 => target.push_str(&v1_format::query(query)),
            ApiVersion::Latest => target.push_str(query),
        }
    }
    target
}

/// The headers that go along, and what the gateway says itself.
fn upstream_headers(route: &Route, cx: &RequestContext, parts: &Parts) -> HeaderMap {
    let host = authority(parts);
    let peer = parts.extensions.get::<Peer>().and_then(|peer| peer.0);
    let mut headers = headers::from_client(parts.headers.clone(), &route.config);
    let peer = peer.map(|peer| peer.ip());
    forwarded::set_forwarded_headers(&mut headers, peer, host.as_ref(), &route.around.trusted);
    headers::via(&mut headers, parts.version, cx.client());
    if let Some(caller) = cx.caller() {
        bff_context::trusted::identify(caller, &mut headers);
    }
    let host = host.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host.filter(|_| route.config.host_header == Host::Client) {
        headers.insert(header::HOST, host);
    }
    headers
}

/// What the client asked for: HTTP/1.1 says it in `Host`, HTTP/2 in the address.
fn authority(parts: &Parts) -> Option<Authority> {
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse().ok());
    host.or_else(|| parts.uri.authority().cloned())
}
