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

use super::admit::{Admitted, admit, ends_here};
use super::body::Upload;
use super::config::Host;
use super::old::Format;
use super::write::Coming;
use super::{Entry, Route, forwarded, headers, kept, old, reply, tunnel};
use crate::cache::Lookup;
use crate::context::Cx;
use crate::error::{Error, codes};
use crate::inbound::{Peer, input};
use crate::outbound::{self, Again, Answer, Failure, Load, Passage, Spoilt, retry};
use crate::scope::Scope;

/// Marks an answer that is a backend's own: the edge adds to it, and changes nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsItIs;

/// The router's fallback. The edge has found the route already, if there is one.
pub(crate) async fn answer(mut request: Request) -> Response {
    let Some(entry) = request.extensions_mut().remove::<Arc<Entry>>() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let passed = Box::pin(pass(&entry, request)).await;
    passed.unwrap_or_else(Error::into_response)
}

async fn pass(entry: &Arc<Entry>, mut request: Request) -> Result<Response, Error> {
    let route = &*entry.route;
    let admitted = admit(route, &mut request)?;
    if let Some(answer) = ends_here(route, &mut request) {
        return Ok(answer);
    }
    let coming = Coming::default();
    let passage = passage(entry, &admitted, request, &coming).await?;
    if route.config.cache && kept::suits(&admitted, &passage) {
        let mut response = kept::answer(entry, &admitted, passage).await?;
        response.extensions_mut().insert(AsItIs);
        return Ok(response);
    }
    if passage.method.is_safe() {
        return forward(route, admitted, &passage).await;
    }
    let (entry, cx) = (entry.clone(), admitted.cx.clone());
    let write = async move {
        let done = forward(&entry.route, admitted, &passage).await;
        done.map_err(Failure::from)
    };
    Ok(coming.run(&cx, write).await?)
}

/// What the backend answers to a request that is not for the cache.
async fn forward(route: &Route, admitted: Admitted, passage: &Passage) -> Result<Response, Error> {
    let answer = outbound::pass(&admitted.cx, &route.upstream, passage).await;
    outdate(route, &admitted.cx, passage, &answer);
    let answer = answer?;
    let mut response = if answer.response.status() == StatusCode::SWITCHING_PROTOCOLS {
        reply::switch(route, admitted, answer)?
    } else {
        reply::respond(route, &admitted, &passage.method, answer).await?
    };
    if route.config.cache && passage.method.is_safe() {
        kept::told(&mut response, Lookup::Bypass);
    }
    response.extensions_mut().insert(AsItIs);
    Ok(response)
}

/// A write that was, or may have been, done outdates what is kept of its address.
fn outdate(route: &Route, cx: &Cx, passage: &Passage, answer: &Result<Answer, Failure>) {
    let done = match answer {
        Ok(answer) => !answer.response.status().is_client_error(),
        Err(failure) => failure.is_uncertain(),
    };
    if done && !passage.method.is_safe() {
        let at = (route.upstream.name(), passage.target.as_str());
        let audience = cx.caller().map(Scope::audience);
        let now = cx.world().unix_millis();
        (cx.shared().cache).passed(at, audience.as_ref(), now);
    }
}

/// The request as the backend gets it.
async fn passage(
    entry: &Entry,
    admitted: &Admitted,
    request: Request,
    coming: &Coming,
) -> Result<Passage, Error> {
    let (route, cx) = (&*entry.route, &admitted.cx);
    let config = &route.config;
    let spoilt = Spoilt::default();
    let expects = headers::lists(request.headers(), header::EXPECT, "100-continue");
    let keyed = request.headers().contains_key("idempotency-key");
    let harmless = config.retries && retry::is_repeatable(request.method(), keyed);
    let (parts, body) = request.into_parts();
    let told = (coming.clone(), spoilt.clone());
    let load = load(route, admitted.format, harmless, (&parts, body), told).await?;
    let streams = matches!(load, Load::Streamed(_));
    if !streams {
        coming.has_come();
    }
    let target = target(entry, admitted.format, &parts);
    let mut headers = along(route, cx, &parts);
    if admitted.format == Format::Old {
        old::ask_plainly(&mut headers);
    }
    if admitted.upgrade.is_some() {
        tunnel::ask(&mut headers);
    }
    if streams && expects {
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    if matches!(&load, Load::Kept(bytes) if bytes.is_empty()) {
        headers::announce_nothing(&mut headers, &parts.method);
    }
    Ok(Passage {
        method: parts.method,
        target,
        headers,
        repeat: match (config.retries, harmless && !streams) {
            (false, _) => Again::Never,
            (true, false) => Again::Unsent,
            (true, true) => Again::Harmless,
        },
        within: config.attempt_timeout.or(streams.then_some(Duration::MAX)),
        expects: streams && expects,
        plain_1: admitted.upgrade.is_some() || config.host == Host::Client,
        upgrade: admitted.upgrade.is_some(),
        load,
        spoilt,
    })
}

/// The body: read, where it may have to be sent again or is to be translated; else as it comes.
async fn load(
    route: &Route,
    format: Format,
    harmless: bool,
    (parts, body): (&Parts, Body),
    told: (Coming, Spoilt),
) -> Result<Load, Error> {
    let size = body.size_hint().exact();
    if size == Some(0) {
        return Ok(Load::Kept(Bytes::new()));
    }
    let translated = format == Format::Old && old::is_json(&parts.headers);
    if translated && parts.headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "A body of the old format is in no encoding.";
        return Err(Error::new(codes::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let small = size.is_some_and(|size| size <= route.config.kept_body_bytes as u64);
    let keeps = translated || harmless && small;
    if !keeps {
        let idle = route.config.idle;
        let upload = Upload::new(body, route.max_body_bytes, idle, told);
        return Ok(Load::streamed(Body::new(upload)));
    }
    let mut whole = Request::new(body);
    *whole.extensions_mut() = parts.extensions.clone();
    let bytes = input::read(whole).await?;
    if translated {
        return Ok(Load::Kept(old::request(&bytes)?.into()));
    }
    Ok(Load::Kept(bytes))
}

/// Path and query at the backend.
fn target(entry: &Entry, format: Format, parts: &Parts) -> String {
    let mut target = entry.rewritten(parts.uri.path());
    if let Some(query) = parts.uri.query() {
        target.push('?');
        match format {
            Format::Old => target.push_str(&old::query(query)),
            Format::Today => target.push_str(query),
        }
    }
    target
}

/// The headers that go along, and what the gateway says itself.
fn along(route: &Route, cx: &Cx, parts: &Parts) -> HeaderMap {
    let host = authority(parts);
    let peer = parts.extensions.get::<Peer>().and_then(|peer| peer.0);
    let mut headers = headers::from_client(parts.headers.clone(), &route.config);
    let peer = peer.map(|peer| peer.ip());
    forwarded::tell(&mut headers, peer, host.as_ref(), &route.around.trusted);
    headers::via(&mut headers, parts.version, &cx.shared().client);
    if let Some(caller) = cx.caller() {
        caller.identify(&mut headers);
    }
    let host = host.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host.filter(|_| route.config.host == Host::Client) {
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
