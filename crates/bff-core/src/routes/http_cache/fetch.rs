//! One call whose response may be stored: buffers a short body, and streams any other.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::stored_response::{self, Content, StoredResponse, StreamingRemainder};
use crate::cache::rfc9111::{self, StorageDecision};
use crate::cache::{CachePolicy, FetchContext, FullResponse, Key};
use crate::context::RequestContext;
use crate::outbound::{self, Failure, ForwardRequest, ForwardResponse, Reason};
use crate::routes::{Route, headers, response};
use crate::scope::X_USER_ID;

/// Whether the backend can identify the caller of a request.
pub(super) fn is_authenticated(cx: &RequestContext, headers: &HeaderMap) -> bool {
    let identifying = [header::AUTHORIZATION, header::COOKIE, X_USER_ID];
    cx.caller().is_some() || identifying.iter().any(|name| headers.contains_key(name))
}

/// One call to the backend.
pub(super) struct Call<'a> {
    pub(super) cx: &'a RequestContext,
    pub(super) route: &'a Route,
    pub(super) request: &'a ForwardRequest,
    pub(super) policy: &'a CachePolicy,
    pub(super) key: &'a Key,
}

impl Call<'_> {
    /// Makes the call. With a stored response in `fetch`, it is a conditional request. A body that may not be stored,
    /// or is too long, is returned as a stream.
    pub(super) async fn fetch(
        &self,
        authenticated: bool,
        fetch: Option<&FetchContext>,
    ) -> Result<FullResponse<StoredResponse>, Failure> {
        let mut request = self.request.clone();
        let conditional = fetch.is_some_and(|fetch| fetch.add_validators(&mut request.headers));
        let mut started = Instant::now();
        let mut forwarded = outbound::forward(self.cx, &self.route.upstream, &request).await?;
        if let Some(fetch) = fetch.filter(|_| conditional)
            && forwarded.response.status() == StatusCode::NOT_MODIFIED
        {
            let response_delay = started.elapsed();
            let stored = fetch.stored_value::<StoredResponse>();
            let refreshed = stored.and_then(|stored| self.refreshed(&stored, &mut forwarded));
            if let Some(refreshed) = refreshed {
                return Ok(full_response(refreshed, response_delay));
            }
            // It is about another version: ask again without the condition (RFC 9111 §4.3.4).
            drop(forwarded);
            started = Instant::now();
            forwarded = outbound::forward(self.cx, &self.route.upstream, self.request).await?;
        }
        let response_delay = started.elapsed();
        self.convert_headers(&mut forwarded);
        let status = forwarded.response.status();
        let head = forwarded.response.headers().clone();
        let shareable = self.evaluate(true, status, &head, response_delay).may_store;
        let may_store = if authenticated {
            shareable
        } else {
            self.evaluate(false, status, &head, response_delay)
                .may_store
        };
        let content = self.content(may_store, forwarded).await?;
        // An error of the server says nothing about later responses.
        let is_lasting = !authenticated && !status.is_server_error();
        if matches!(content, Content::Stream(_)) && is_lasting {
            self.route.context.shared.cache.mark_hit_for_miss(self.key);
        }
        let stored = StoredResponse {
            status,
            varied_by: stored_response::varied_by(&self.request.headers, &head),
            head: rfc9111::compact_headers(&head),
            shareable,
            content,
        };
        Ok(full_response(stored, response_delay))
    }

    fn convert_headers(&self, forwarded: &mut ForwardResponse) {
        let version = forwarded.response.version();
        let head = forwarded.response.headers_mut();
        response::convert_headers(self.route, self.cx, version, head);
    }

    /// The stored response with the headers of a 304. `None` if the 304 is about another version.
    fn refreshed(
        &self,
        stored: &StoredResponse,
        not_modified: &mut ForwardResponse,
    ) -> Option<StoredResponse> {
        let Content::Full(bytes) = &stored.content else {
            return None;
        };
        self.convert_headers(not_modified);
        let head = rfc9111::merge_304_headers(&stored.head, not_modified.response.headers())?;
        Some(StoredResponse {
            status: stored.status,
            varied_by: stored_response::varied_by(&self.request.headers, &head),
            head,
            shareable: stored.shareable,
            content: Content::Full(bytes.clone()),
        })
    }

    /// Decides by RFC 9111 whether the response may be stored, for an authenticated request or not (§3.5).
    fn evaluate(
        &self,
        authenticated: bool,
        status: StatusCode,
        head: &HeaderMap,
        response_delay: Duration,
    ) -> StorageDecision {
        let mut headers = self.request.headers.clone();
        headers.remove(header::AUTHORIZATION);
        if authenticated {
            // Its presence matters, not its value.
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static("present"));
        }
        let request = rfc9111::RequestView {
            method: &Method::GET,
            headers: &headers,
        };
        let response = rfc9111::ResponseView {
            status,
            headers: head,
            received_at: self.route.context.shared.env.now(),
            response_delay,
        };
        let mut decision = rfc9111::evaluate(&request, response, self.policy);
        let has_validator =
            head.contains_key(header::ETAG) || head.contains_key(header::LAST_MODIFIED);
        // A partial response does not answer a full request, an event stream may be endless, and a cookie is for one
        // client.
        decision.may_store &= (has_validator || !decision.fresh_for.is_zero())
            && status != StatusCode::PARTIAL_CONTENT
            && !headers::is_event_stream(head)
            && !head.contains_key(header::SET_COOKIE);
        decision
    }

    /// The body: buffered if it may be stored and is short enough, else a stream.
    async fn content(
        &self,
        may_store: bool,
        forwarded: ForwardResponse,
    ) -> Result<Content, Failure> {
        let max_bytes = self.route.config.cache_max_bytes;
        let ForwardResponse { response, guard } = forwarded;
        let mut body = response.into_body();
        let mut first = Bytes::new();
        if may_store && body.size_hint().lower() <= max_bytes as u64 {
            let read = timeout_at(self.cx.upstream_deadline(), read(&mut body, max_bytes)).await;
            let (bytes, ended) = read.map_err(|_| Failure::new(Reason::Deadline))??;
            if ended {
                return Ok(Content::Full(bytes));
            }
            first = bytes;
        }
        Ok(Content::Stream(Mutex::new(Some(StreamingRemainder {
            first,
            body,
            guard,
        }))))
    }
}

/// Reads a body until its end, or until it is longer than `max_bytes`. Returns whether it has ended.
async fn read(body: &mut Incoming, max_bytes: usize) -> Result<(Bytes, bool), Failure> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let failure = |_| Failure::new(Reason::BadResponse).with_cause("the body ended early");
        if let Ok(data) = frame.map_err(failure)?.into_data() {
            read.extend_from_slice(&data);
        }
        if read.len() > max_bytes {
            return Ok((read.freeze(), false));
        }
    }
    Ok((read.freeze(), true))
}

/// The response for the cache. A stream gets `no-store`, so the cache does not store it.
fn full_response(stored: StoredResponse, response_delay: Duration) -> FullResponse<StoredResponse> {
    let (head, bytes) = match &stored.content {
        Content::Full(bytes) => (stored.head.clone(), bytes.len()),
        Content::Stream(_) => {
            let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            (HeaderMap::from_iter([no_store]), 0)
        }
    };
    FullResponse {
        status: stored.status,
        head,
        // An estimate: 64 bytes for each header.
        bytes: bytes + stored.head.len() * 64,
        body: stored.encode(),
        value: Arc::new(stored),
        omitted: 0,
        response_delay,
    }
}
