//! The interface of a fetch function: its inputs and its result.

use std::sync::Arc;
use std::time::Duration;

use bff_context::context::{RequestContext, SharedDeadline};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::entry::Entry;
use super::rfc9111;

/// The inputs of a call: the context, the deadline, and the stale entry to revalidate.
pub struct FetchContext {
    /// The context of the request that started the call.
    pub cx: RequestContext,
    /// The latest deadline of all requests that wait for the call.
    pub deadline: Arc<SharedDeadline>,
    pub(super) stale_entry: Option<Arc<Entry>>,
}

impl FetchContext {
    /// The value of the stale entry.
    pub fn stored_value<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.stale_entry.as_ref()?.value().ok()
    }

    /// Whether a 304 is about the stale entry, and not about another version (RFC 9111 §4.3.4).
    pub fn is_about_stored(&self, not_modified: &HeaderMap) -> bool {
        let entry = self.stale_entry.as_ref();
        entry.is_some_and(|e| rfc9111::merge_304_headers(&e.head, not_modified).is_some())
    }

    /// Makes the request conditional if there is a stale entry with validators; returns whether it did.
    pub fn add_validators(&self, headers: &mut HeaderMap) -> bool {
        let before = headers.len();
        if let Some(entry) = &self.stale_entry {
            entry.add_validators(headers);
        }
        headers.len() > before
    }
}

/// The result of a call.
pub enum FetchResult<T> {
    /// A response with its content.
    Full(FullResponse<T>),
    /// A 304: the stale entry is still valid. Holds the head and the response delay.
    NotModified(HeaderMap, Duration),
}

/// A response with its content, decoded.
pub struct FullResponse<T> {
    /// Shared by all readers, so that no layer in between moves the value itself.
    pub value: Arc<T>,
    /// The number of elements that the value's lists omit, because they do not decode.
    pub omitted: u32,
    /// The status of the response.
    pub status: StatusCode,
    /// The header fields of the response.
    pub head: HeaderMap,
    /// The size of the body as received.
    pub bytes: usize,
    /// The body as received, if the value can be decoded from it again; otherwise empty.
    pub body: Bytes,
    /// The time between the request and the head of the response (RFC 9111 §4.2.3).
    pub response_delay: Duration,
}
