//! What happens once for all who wait: the call itself, and putting away what it brought.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::Cache;
use super::entry::{CachedResult, Entry};
use super::hash::Tag;
use super::key::Key;
use super::policy::CachePolicy;
use super::read_through::ReadKey;
use super::rfc9111::{self, RequestView, ResponseView, StorageDecision};
use super::shared_tier::lease::FetchLease;
use super::shared_tier::{DecodeFn, SharedLookup};
use super::single_flight::FlightResult;
use crate::context::RequestContext;
use crate::net;
use crate::outbound::{Failure, Reason, SharedDeadline};

/// What a backend lets its answer be purged by: a comma list.
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// An answer with more tags is not kept: a purge would not find it.
const MAX_TAGS: usize = 64;

/// What a call needs to be made: by whose context, until when, and against which copy.
pub(crate) struct FetchContext {
    pub(crate) cx: RequestContext,
    pub(crate) until: Arc<SharedDeadline>,
    copy: Option<Arc<Entry>>,
}

impl FetchContext {
    /// The value of the copy.
    pub(crate) fn copy<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.copy.as_ref()?.value().ok()
    }

    /// Asks only for what is not held already; says whether there is such a condition.
    pub(crate) fn condition(&self, headers: &mut HeaderMap) -> bool {
        let before = headers.len();
        if let Some(copy) = &self.copy {
            copy.add_validators(headers);
        }
        headers.len() > before
    }
}

/// What a call brought.
pub(crate) enum FetchResult<T> {
    /// An answer.
    Full(FullResponse<T>),
    /// The copy is still good (304), says this head after so long.
    NotModified(HeaderMap, Duration),
}

/// A whole answer, decoded.
pub(crate) struct FullResponse<T> {
    /// Where all its readers find it, so that no policy on the way moves it.
    pub(crate) value: Arc<T>,
    pub(crate) status: StatusCode,
    pub(crate) head: HeaderMap,
    /// Of its body as received.
    pub(crate) bytes: usize,
    /// The same, where it can be made into the value again.
    pub(crate) body: Bytes,
    pub(crate) took: Duration,
}

/// Keeps what was fetched for one reader alone, asked for at `asked`, if others may have it.
pub(crate) fn store_response<T: Send + Sync + 'static>(
    cx: &RequestContext,
    read: &ReadKey,
    keep: &CachePolicy,
    asked: u64,
    whole: FullResponse<T>,
) -> Result<Arc<T>, Failure> {
    let flying = CacheFill {
        cx: cx.clone(),
        key: read.key.clone(),
        keep: keep.clone(),
        copy: None,
        asked,
        recall: None,
    };
    flying.store_full(whole, None).value()
}

/// A call under way: whose, under which key, and which copy there is.
pub(super) struct CacheFill {
    pub(super) cx: RequestContext,
    pub(super) key: Key,
    pub(super) keep: CachePolicy,
    pub(super) copy: Option<Arc<Entry>>,
    /// When it was asked for, in milliseconds since 1970.
    pub(super) asked: u64,
    /// How what other replicas kept becomes a value, where it can.
    pub(super) recall: Option<DecodeFn>,
}

impl CacheFill {
    /// Makes the call and puts away what it brought.
    pub(super) async fn run<T, Fut>(
        mut self,
        until: Arc<SharedDeadline>,
        fetch: impl FnOnce(FetchContext) -> Fut,
    ) -> FlightResult
    where
        T: Send + Sync + 'static,
        Fut: Future<Output = Result<FetchResult<T>, Failure>>,
    {
        let mut errand = None;
        if let (Some(recall), Some(tier)) = (self.recall, self.cache().tier()) {
            match Box::pin(tier.lookup(&self, recall, &until)).await {
                SharedLookup::Hit(entry) => {
                    self.cache().put(&self.key, &entry);
                    return Ok(entry);
                }
                SharedLookup::Fetch(ours, stale) => {
                    errand = ours;
                    self.use_copy(stale);
                }
            }
        }
        let got = fetch(FetchContext {
            cx: self.cx.clone(),
            until,
            copy: self.copy.clone(),
        });
        match got.await {
            Ok(FetchResult::Full(whole)) => Ok(self.store_full(whole, errand)),
            Ok(FetchResult::NotModified(head, took)) => self.refresh_from_304(&head, took, errand),
            Err(failure) => {
                self.failed(&failure, errand);
                Err(failure)
            }
        }
    }

    /// A copy that others kept: it can be asked about, and stand in when that fails.
    fn use_copy(&mut self, stale: Option<Arc<Entry>>) {
        if let (None, Some(entry)) = (&self.copy, stale) {
            self.cache().put(&self.key, &entry);
            self.copy = Some(entry);
        }
    }

    fn cache(&self) -> &Cache {
        &self.cx.shared().cache
    }

    fn evaluate(&self, status: StatusCode, headers: &HeaderMap, took: Duration) -> StorageDecision {
        // What goes upstream and could be varied by is either in the key or of one request only.
        let asked = RequestView {
            method: &Method::GET,
            headers: &HeaderMap::new(),
        };
        let answer = ResponseView {
            status,
            headers,
            at: self.cx.world().now(),
            took,
        };
        let mut terms = rfc9111::evaluate(&asked, answer, &self.keep);
        terms.may_keep &= self.cache().0.memory.is_some();
        terms
    }

    fn store_full<T: Send + Sync + 'static>(
        &self,
        whole: FullResponse<T>,
        errand: Option<Box<FetchLease>>,
    ) -> Arc<Entry> {
        let mut terms = self.evaluate(whole.status, &whole.head, whole.took);
        let tags = if terms.may_keep {
            self.tags(&whole.head)
        } else {
            Some(Box::default())
        };
        terms.may_keep &= tags.is_some();
        let head = if terms.may_keep {
            rfc9111::stored_headers(&whole.head)
        } else {
            HeaderMap::new()
        };
        let entry = self.put(Entry {
            what: CachedResult::Value(whole.value),
            terms,
            head,
            bytes: whole.bytes,
            arrived: net::now(),
            requested_at: self.asked,
            tags: tags.unwrap_or_default(),
            last_refresh_error: None.into(),
            from_shared_tier: false,
        });
        if let Some(errand) = errand {
            errand.publish(&self.key, &entry, whole.status, whole.body);
        }
        entry
    }

    /// The copy is good again (RFC 9111 §4.3.4): nothing is parsed, and its readers share the value on.
    fn refresh_from_304(
        &self,
        head: &HeaderMap,
        took: Duration,
        errand: Option<Box<FetchLease>>,
    ) -> FlightResult {
        let copy = self.copy.as_ref();
        let fresh = copy.and_then(|copy| Some((copy, rfc9111::merge_304_headers(&copy.head, head)?)));
        let Some((copy, head)) = fresh else {
            self.evict(errand);
            let why = "it answered 304 about another version";
            let failure = Failure::new(Reason::BadResponse).with_cause(why);
            return Err(failure.with_upstream(self.key.upstream()));
        };
        let entry = self.put(Entry {
            what: copy.what.clone(),
            terms: self.evaluate(StatusCode::OK, &head, took),
            head,
            bytes: copy.bytes,
            arrived: net::now(),
            requested_at: self.asked,
            tags: copy.tags.clone(),
            last_refresh_error: None.into(),
            from_shared_tier: false,
        });
        if let Some(errand) = errand {
            errand.publish_refreshed(&self.key, &entry);
        }
        Ok(entry)
    }

    /// That there is nothing is kept only where the backend says for how long; a copy of what is gone is not.
    fn failed(&self, failure: &Failure, errand: Option<Box<FetchLease>>) {
        let nothing = failure.reason() == Reason::NotFound;
        if let Some(head) = failure.response_headers().filter(|_| nothing) {
            let terms = self.evaluate(StatusCode::NOT_FOUND, head, Duration::ZERO);
            let tags = self.tags(head).filter(|_| terms.may_keep);
            if let (Some(tags), false) = (tags, terms.fresh_for.is_zero()) {
                self.put(Entry {
                    what: CachedResult::Negative(failure.clone().without_response()),
                    terms,
                    head: HeaderMap::new(),
                    bytes: 0,
                    arrived: net::now(),
                    requested_at: self.asked,
                    tags,
                    last_refresh_error: None.into(),
                    from_shared_tier: false,
                });
                if let Some(errand) = errand {
                    errand.publish_gone();
                }
                return;
            }
        }
        let Some(copy) = &self.copy else { return };
        if copy.usable_on_error(failure, net::now()) {
            *copy.last_refresh_error.lock() = Some((failure.reason(), failure.retry_after()));
        } else if failure.reason().is_definitive() {
            self.evict(errand);
        }
    }

    /// The copy is worth nothing any more, here and to other replicas.
    fn evict(&self, errand: Option<Box<FetchLease>>) {
        self.cache().remove(&self.key);
        if let Some(errand) = errand {
            errand.publish_gone();
        }
    }

    fn put(&self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        if !self.cache().is_valid(&self.key, &entry) {
            // Purged while it was on its way: what was fetched since is not to make room for it.
            return entry;
        }
        if entry.is_storable() {
            self.cache().put(&self.key, &entry);
        } else if self.copy.is_some() {
            self.cache().remove(&self.key);
        }
        entry
    }

    /// Everything the answer can be purged by, unless that is too much.
    fn tags(&self, head: &HeaderMap) -> Option<Box<[Tag]>> {
        let mut tags = Vec::with_capacity(3 + self.keep.tags.len());
        tags.extend(self.key.tags());
        tags.extend(&self.keep.tags);
        for value in head.get_all(CACHE_TAG) {
            let words = value.to_str().ok()?.split(',').map(str::trim);
            tags.extend(words.filter(|w| !w.is_empty()).map(Tag::named));
        }
        (tags.len() <= MAX_TAGS).then(|| tags.into())
    }
}
