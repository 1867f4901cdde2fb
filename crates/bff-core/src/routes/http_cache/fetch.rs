//! One call whose answer may be kept: what of it is read, and what streams on.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::stored_response::{self, Content, StoredResponse, StreamingRemainder, VaryFields};
use crate::cache::rfc9111::{self, StorageDecision};
use crate::cache::{CachePolicy, FetchContext, FullResponse, Key};
use crate::context::RequestContext;
use crate::outbound::{self, Failure, ForwardRequest, ForwardResponse, Reason};
use crate::routes::{Route, headers, v1_format};
use crate::scope::X_USER_ID;

/// What a 304 does not change of a kept head (RFC 9111 §3.2).
const OF_THE_BODY: [HeaderName; 4] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
];

/// Whether the backend learns from a request whose it is.
pub(super) fn is_authenticated(cx: &RequestContext, headers: &HeaderMap) -> bool {
    let says = [header::AUTHORIZATION, header::COOKIE, X_USER_ID];
    cx.caller().is_some() || says.iter().any(|name| headers.contains_key(name))
}

/// A call to be made.
pub(super) struct Call<'a> {
    cx: &'a RequestContext,
    route: &'a Route,
    passage: &'a ForwardRequest,
    keep: &'a CachePolicy,
    key: &'a Key,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        cx: &'a RequestContext,
        route: &'a Route,
        passage: &'a ForwardRequest,
        keep: &'a CachePolicy,
        key: &'a Key,
    ) -> Self {
        Self {
            cx,
            route,
            passage,
            keep,
            key,
        }
    }

    /// Makes it, on the condition of a copy if there is one. What may not be kept, or is too long, is still coming.
    pub(super) async fn fetch(
        &self,
        known: bool,
        note: &Key,
        fetch: Option<&FetchContext>,
    ) -> Result<FullResponse<StoredResponse>, Failure> {
        let mut passage = self.passage.clone();
        let conditional = fetch.is_some_and(|fetch| fetch.add_validators(&mut passage.headers));
        let asked = Instant::now();
        let mut answer = outbound::forward(self.cx, &self.route.upstream, &passage).await?;
        let version = answer.response.version();
        let head = answer.response.headers_mut();
        headers::from_backend(head, &self.route.config);
        headers::via(head, version, self.cx.client());
        if self.route.config.v1_format {
            v1_format::vary(head);
        }
        let response_delay = asked.elapsed();
        let status = answer.response.status();
        if conditional && status == StatusCode::NOT_MODIFIED {
            let copy = fetch.and_then(FetchContext::stored_value::<StoredResponse>);
            let same = copy.and_then(|copy| refresh_from_304(&copy, answer.response.headers()));
            let why = "it answered 304 about another version";
            let same = same.ok_or_else(|| Failure::new(Reason::BadResponse).with_cause(why))?;
            return Ok(full_response(same, response_delay));
        }
        let head = answer.response.headers().clone();
        let names = stored_response::varies(&head);
        if !names.is_empty() {
            self.route
                .around
                .shared
                .cache
                .set_annotation(note, VaryFields(names.clone()));
        }
        let for_all = self.judge(true, status, &head, response_delay).may_store;
        let may_keep = if known {
            for_all
        } else {
            self.judge(false, status, &head, response_delay).may_store
        };
        let content = self.content(may_keep, answer).await?;
        // A mishap says nothing of the answer after it.
        let lasts = !known && !status.is_server_error();
        if matches!(content, Content::Once(_)) && lasts {
            self.route.around.shared.cache.mark_hit_for_miss(self.key);
        }
        let passed = StoredResponse {
            status,
            asked: stored_response::values(&self.passage.headers, names),
            head: rfc9111::compact_headers(&head),
            for_all,
            content,
        };
        Ok(full_response(passed, response_delay))
    }

    /// What RFC 9111 says of the answer; `known` is whether the backend knew who asked (§3.5).
    fn judge(
        &self,
        known: bool,
        status: StatusCode,
        head: &HeaderMap,
        response_delay: Duration,
    ) -> StorageDecision {
        let mut asked = self.passage.headers.clone();
        asked.remove(header::AUTHORIZATION);
        if known {
            asked.insert(header::AUTHORIZATION, HeaderValue::from_static("known"));
        }
        let asked = rfc9111::RequestView {
            method: &Method::GET,
            headers: &asked,
        };
        let answer = rfc9111::ResponseView {
            status,
            headers: head,
            received_at: self.route.around.shared.env.now(),
            response_delay,
        };
        let mut terms = rfc9111::evaluate(&asked, answer, self.keep);
        let revalidates =
            head.contains_key(header::ETAG) || head.contains_key(header::LAST_MODIFIED);
        // A part is no answer to a request for all, events have no end, and a cookie is one client's.
        terms.may_store &= (revalidates || !terms.fresh_for.is_zero())
            && status != StatusCode::PARTIAL_CONTENT
            && !headers::is_event_stream(head)
            && !head.contains_key(header::SET_COOKIE);
        terms
    }

    /// The body: whole, if it may be kept and is short enough.
    async fn content(&self, may_keep: bool, answer: ForwardResponse) -> Result<Content, Failure> {
        let most = self.route.config.cache_max_bytes;
        let ForwardResponse {
            response,
            guard: stay,
        } = answer;
        let mut body = response.into_body();
        let mut first = Bytes::new();
        if may_keep && body.size_hint().lower() <= most as u64 {
            let read = timeout_at(self.cx.upstream_deadline(), read(&mut body, most)).await;
            let (bytes, ended) = read.map_err(|_| Failure::new(Reason::Deadline))??;
            if ended {
                return Ok(Content::Whole(bytes));
            }
            first = bytes;
        }
        Ok(Content::Once(Mutex::new(Some(StreamingRemainder {
            first,
            body,
            stay,
        }))))
    }
}

/// The body up to its end, or until it is longer than `most`; says whether that was the end.
async fn read(body: &mut Incoming, most: usize) -> Result<(Bytes, bool), Failure> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| Failure::new(Reason::BadResponse).with_cause("the body ended early");
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            read.extend_from_slice(&data);
        }
        if read.len() > most {
            return Ok((read.freeze(), false));
        }
    }
    Ok((read.freeze(), true))
}

/// A copy that is good again, as the 304 says it.
fn refresh_from_304(copy: &Arc<StoredResponse>, told: &HeaderMap) -> Option<StoredResponse> {
    let Content::Whole(bytes) = &copy.content else {
        return None;
    };
    rfc9111::merge_304_headers(&copy.head, told)?;
    let mut head = copy.head.clone();
    head.remove(header::AGE);
    for name in told.keys().filter(|name| !OF_THE_BODY.contains(name)) {
        head.remove(name);
        for value in told.get_all(name) {
            head.append(name.clone(), value.clone());
        }
    }
    Some(StoredResponse {
        status: copy.status,
        head: rfc9111::compact_headers(&head),
        asked: copy.asked.clone(),
        for_all: copy.for_all,
        content: Content::Whole(bytes.clone()),
    })
}

/// As it is put away. What is still coming is not.
fn full_response(passed: StoredResponse, response_delay: Duration) -> FullResponse<StoredResponse> {
    let (head, bytes) = match &passed.content {
        Content::Whole(bytes) => (passed.head.clone(), bytes.len()),
        Content::Once(_) => {
            let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            (HeaderMap::from_iter([no_store]), 0)
        }
    };
    FullResponse {
        status: passed.status,
        head,
        // Its whole head is kept too.
        bytes: bytes + passed.head.len() * 64,
        body: passed.encode(),
        value: Arc::new(passed),
        response_delay,
    }
}
