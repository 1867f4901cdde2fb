//! What happens once for all who wait: the call itself, and putting away what it brought.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::Cache;
use super::answer::Read;
use super::entry::{Entry, What};
use super::flight::Landed;
use super::hash::Tag;
use super::keep::Keep;
use super::key::Key;
use super::rules::{self, Answer, Asked, Terms};
use super::tier::errand::Errand;
use super::tier::{Looked, Recall};
use crate::context::Cx;
use crate::net;
use crate::outbound::{Failure, Reason, Until};

/// What a backend lets its answer be purged by: a comma list.
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// An answer with more tags is not kept: a purge would not find it.
const MOST_TAGS: usize = 64;

/// What a call needs to be made: by whose context, until when, and against which copy.
pub(crate) struct Fetch {
    pub(crate) cx: Cx,
    pub(crate) until: Arc<Until>,
    copy: Option<Arc<Entry>>,
}

impl Fetch {
    /// The value of the copy.
    pub(crate) fn copy<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.copy.as_ref()?.value().ok()
    }

    /// Asks only for what is not held already; says whether there is such a condition.
    pub(crate) fn condition(&self, headers: &mut HeaderMap) -> bool {
        let before = headers.len();
        if let Some(copy) = &self.copy {
            copy.condition(headers);
        }
        headers.len() > before
    }
}

/// What a call brought.
pub(crate) enum Got<T> {
    /// An answer.
    Whole(Whole<T>),
    /// The copy is still good (304), says this head after so long.
    Same(HeaderMap, Duration),
}

/// A whole answer, decoded.
pub(crate) struct Whole<T> {
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
pub(crate) fn keep<T: Send + Sync + 'static>(
    cx: &Cx,
    read: &Read,
    keep: &Keep,
    asked: u64,
    whole: Whole<T>,
) -> Result<Arc<T>, Failure> {
    let flying = Flying {
        cx: cx.clone(),
        key: read.key.clone(),
        keep: keep.clone(),
        copy: None,
        asked,
        recall: None,
    };
    flying.whole(whole, None).value()
}

/// A call under way: whose, under which key, and which copy there is.
pub(super) struct Flying {
    pub(super) cx: Cx,
    pub(super) key: Key,
    pub(super) keep: Keep,
    pub(super) copy: Option<Arc<Entry>>,
    /// When it was asked for, in milliseconds since 1970.
    pub(super) asked: u64,
    /// How what other replicas kept becomes a value, where it can.
    pub(super) recall: Option<Recall>,
}

impl Flying {
    /// Makes the call and puts away what it brought.
    pub(super) async fn fly<T, Fut>(
        mut self,
        until: Arc<Until>,
        fetch: impl FnOnce(Fetch) -> Fut,
    ) -> Landed
    where
        T: Send + Sync + 'static,
        Fut: Future<Output = Result<Got<T>, Failure>>,
    {
        let mut errand = None;
        if let (Some(recall), Some(tier)) = (self.recall, self.cache().tier()) {
            match Box::pin(tier.look(&self, recall, &until)).await {
                Looked::Found(entry) => {
                    self.cache().put(&self.key, &entry);
                    return Ok(entry);
                }
                Looked::Call(ours, stale) => {
                    errand = ours;
                    self.use_copy(stale);
                }
            }
        }
        let got = fetch(Fetch {
            cx: self.cx.clone(),
            until,
            copy: self.copy.clone(),
        });
        match got.await {
            Ok(Got::Whole(whole)) => Ok(self.whole(whole, errand)),
            Ok(Got::Same(head, took)) => self.same(&head, took, errand),
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

    fn judge(&self, status: StatusCode, headers: &HeaderMap, took: Duration) -> Terms {
        // What goes upstream and could be varied by is either in the key or of one request only.
        let asked = Asked {
            method: &Method::GET,
            headers: &HeaderMap::new(),
        };
        let answer = Answer {
            status,
            headers,
            at: self.cx.world().now(),
            took,
        };
        let mut terms = rules::judge(&asked, answer, &self.keep);
        terms.may_keep &= self.cache().0.memory.is_some();
        terms
    }

    fn whole<T: Send + Sync + 'static>(
        &self,
        whole: Whole<T>,
        errand: Option<Box<Errand>>,
    ) -> Arc<Entry> {
        let mut terms = self.judge(whole.status, &whole.head, whole.took);
        let tags = if terms.may_keep {
            self.tags(&whole.head)
        } else {
            Some(Box::default())
        };
        terms.may_keep &= tags.is_some();
        let head = if terms.may_keep {
            rules::kept_head(&whole.head)
        } else {
            HeaderMap::new()
        };
        let entry = self.put(Entry {
            what: What::Value(whole.value),
            terms,
            head,
            bytes: whole.bytes,
            arrived: net::now(),
            asked: self.asked,
            tags: tags.unwrap_or_default(),
            failing: None.into(),
            found: false,
        });
        if let Some(errand) = errand {
            errand.done(&self.key, &entry, whole.status, whole.body);
        }
        entry
    }

    /// The copy is good again (RFC 9111 §4.3.4): nothing is parsed, and its readers share the value on.
    fn same(&self, head: &HeaderMap, took: Duration, errand: Option<Box<Errand>>) -> Landed {
        let copy = self.copy.as_ref();
        let fresh = copy.and_then(|copy| Some((copy, rules::freshened(&copy.head, head)?)));
        let Some((copy, head)) = fresh else {
            self.forget(errand);
            let why = "it answered 304 about another version";
            let failure = Failure::new(Reason::BadResponse).because(why);
            return Err(failure.of(self.key.upstream()));
        };
        let entry = self.put(Entry {
            what: copy.what.clone(),
            terms: self.judge(StatusCode::OK, &head, took),
            head,
            bytes: copy.bytes,
            arrived: net::now(),
            asked: self.asked,
            tags: copy.tags.clone(),
            failing: None.into(),
            found: false,
        });
        if let Some(errand) = errand {
            errand.same(&self.key, &entry);
        }
        Ok(entry)
    }

    /// That there is nothing is kept only where the backend says for how long; a copy of what is gone is not.
    fn failed(&self, failure: &Failure, errand: Option<Box<Errand>>) {
        let nothing = failure.reason() == Reason::NotFound;
        if let Some(head) = failure.head().filter(|_| nothing) {
            let terms = self.judge(StatusCode::NOT_FOUND, head, Duration::ZERO);
            let tags = self.tags(head).filter(|_| terms.may_keep);
            if let (Some(tags), false) = (tags, terms.fresh_for.is_zero()) {
                self.put(Entry {
                    what: What::Nothing(failure.clone().without_its_answer()),
                    terms,
                    head: HeaderMap::new(),
                    bytes: 0,
                    arrived: net::now(),
                    asked: self.asked,
                    tags,
                    failing: None.into(),
                    found: false,
                });
                if let Some(errand) = errand {
                    errand.gone();
                }
                return;
            }
        }
        let Some(copy) = &self.copy else { return };
        if copy.stands_in(failure, net::now()) {
            *copy.failing.lock() = Some((failure.reason(), failure.retry_hint()));
        } else if failure.reason().is_answer() {
            self.forget(errand);
        }
    }

    /// The copy is worth nothing any more, here and to other replicas.
    fn forget(&self, errand: Option<Box<Errand>>) {
        self.cache().remove(&self.key);
        if let Some(errand) = errand {
            errand.gone();
        }
    }

    fn put(&self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        if !self.cache().is_alive(&self.key, &entry) {
            // Purged while it was on its way: what was fetched since is not to make room for it.
            return entry;
        }
        if entry.is_worth_keeping() {
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
            tags.extend(words.filter(|w| !w.is_empty()).map(Tag::word));
        }
        (tags.len() <= MOST_TAGS).then(|| tags.into())
    }
}
