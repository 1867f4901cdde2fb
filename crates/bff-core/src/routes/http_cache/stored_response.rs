//! What a backend answered to a request that was passed on, as it is kept, and for which requests it is the answer.

use std::any::Any;
use std::fmt::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::cache::length_prefixed::{get_bytes, get_len, put_bytes, put_len};
use crate::outbound::{ForwardRequest, InFlightGuard, InstanceClients};

/// By which header fields a backend's answers to an address vary.
pub(super) struct VaryFields(pub(super) Vec<HeaderName>);

/// An answer.
pub(super) struct StoredResponse {
    pub(super) status: StatusCode,
    /// As the client gets it.
    pub(super) head: HeaderMap,
    /// What it was asked for with, of what it varies by.
    pub(super) asked: Vec<(HeaderName, Vec<HeaderValue>)>,
    /// Whether those may share it whom the backend knows (RFC 9111 §3.5).
    pub(super) for_all: bool,
    pub(super) content: Content,
}

/// The body of an answer.
pub(super) enum Content {
    /// Read, and for everybody.
    Whole(Bytes),
    /// Still coming, for whoever takes it: it is not kept.
    Once(Mutex<Option<StreamingRemainder>>),
}

/// A body that still comes.
pub(super) struct StreamingRemainder {
    /// What was read of it.
    pub(super) first: Bytes,
    pub(super) body: Incoming,
    pub(super) stay: InFlightGuard<InstanceClients>,
}

/// What answers to an address are told apart by: the address, and the values of what they vary by.
pub(super) fn variant(passage: &ForwardRequest, names: Option<&VaryFields>) -> String {
    // A zero is in no address: no call of a screen has this key.
    let mut target = format!("{}\0", passage.target);
    for name in names.into_iter().flat_map(|names| &names.0) {
        for value in passage.headers.get_all(name) {
            // Writing to a text cannot fail.
            let _ = writeln!(target, "{name}:{}", value.as_bytes().escape_ascii());
        }
    }
    target
}

/// By what an answer varies.
pub(super) fn varies(head: &HeaderMap) -> Vec<HeaderName> {
    let values = head.get_all(header::VARY).iter();
    let names = values.filter_map(|value| value.to_str().ok());
    let names = names.flat_map(|value| value.split(','));
    let mut names: Vec<HeaderName> = names.filter_map(|name| name.trim().parse().ok()).collect();
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names
}

/// The values of these fields, in memory of their own.
pub(super) fn values(
    headers: &HeaderMap,
    of: Vec<HeaderName>,
) -> Vec<(HeaderName, Vec<HeaderValue>)> {
    let copy = |value: &HeaderValue| {
        // It was a value before.
        HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
    };
    let values = |name: HeaderName| {
        let values = headers.get_all(&name).iter().map(copy).collect();
        (name, values)
    };
    of.into_iter().map(values).collect()
}

impl StoredResponse {
    /// Whether it answers a request with these fields (RFC 9111 §4.1).
    pub(super) fn fits(&self, headers: &HeaderMap) -> bool {
        (self.asked.iter()).all(|(name, values)| headers.get_all(name).iter().eq(values.iter()))
    }

    /// The answer with this body.
    pub(super) fn response(&self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.head.clone();
        response
    }

    /// For other replicas; nothing where the body is not whole.
    pub(super) fn encode(&self) -> Bytes {
        let Content::Whole(body) = &self.content else {
            return Bytes::new();
        };
        let mut out = BytesMut::with_capacity(512 + body.len());
        out.put_u16(self.status.as_u16());
        out.put_u8(u8::from(self.for_all));
        put_len(&mut out, self.head.len());
        for (name, value) in &self.head {
            put_bytes(&mut out, name.as_str().as_bytes());
            put_bytes(&mut out, value.as_bytes());
        }
        put_len(&mut out, self.asked.len());
        for (name, values) in &self.asked {
            put_bytes(&mut out, name.as_str().as_bytes());
            put_len(&mut out, values.len());
            for value in values {
                put_bytes(&mut out, value.as_bytes());
            }
        }
        out.put_slice(body);
        out.freeze()
    }

    /// What another replica wrote.
    pub(super) fn decode(written: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
        Self::read(Bytes::copy_from_slice(written)).map(|passed| Arc::new(passed) as _)
    }

    fn read(mut from: Bytes) -> Option<Self> {
        let status = StatusCode::from_u16(from.try_get_u16().ok()?).ok()?;
        let for_all = from.try_get_u8().ok()? == 1;
        let mut head = HeaderMap::new();
        for _ in 0..get_len(&mut from)? {
            let name = HeaderName::from_bytes(&get_bytes(&mut from)?).ok()?;
            head.append(
                name,
                HeaderValue::from_maybe_shared(get_bytes(&mut from)?).ok()?,
            );
        }
        let mut asked = Vec::new();
        for _ in 0..get_len(&mut from)? {
            let name = HeaderName::from_bytes(&get_bytes(&mut from)?).ok()?;
            let mut values = Vec::new();
            for _ in 0..get_len(&mut from)? {
                values.push(HeaderValue::from_maybe_shared(get_bytes(&mut from)?).ok()?);
            }
            asked.push((name, values));
        }
        Some(Self {
            status,
            head,
            asked,
            for_all,
            content: Content::Whole(from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(sent: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn passed(asked: &HeaderMap) -> StoredResponse {
        let head = headers(&[
            ("vary", "Accept, x-b"),
            ("vary", "accept"),
            ("x", "1"),
            ("x", "2"),
        ]);
        StoredResponse {
            status: StatusCode::NOT_FOUND,
            asked: values(asked, varies(&head)),
            head,
            for_all: true,
            content: Content::Whole(Bytes::from_static(b"text")),
        }
    }

    #[test]
    fn an_answer_is_for_requests_with_the_same_values_of_what_it_varies_by() {
        let asked = headers(&[("accept", "a"), ("x-c", "1")]);
        let passed = passed(&asked);
        assert!(passed.fits(&asked));
        assert!(passed.fits(&headers(&[("accept", "a"), ("x-c", "2")])));
        for other in [
            &[][..],
            &[("accept", "b")],
            &[("accept", "a"), ("accept", "a")],
            &[("accept", "a"), ("x-b", "")],
        ] {
            assert!(!passed.fits(&headers(other)), "{other:?}");
        }
    }

    #[test]
    fn what_it_was_asked_for_with_holds_on_to_nothing_else_that_was_read() {
        let read = Bytes::from(vec![b'x'; 4096]);
        let mut asked = HeaderMap::new();
        let part = HeaderValue::from_maybe_shared(read.slice(..1));
        asked.insert(header::ACCEPT, part.unwrap());
        let passed = passed(&asked);
        assert!(passed.fits(&asked));
        drop(asked);
        assert!(read.is_unique());
    }

    #[test]
    fn what_is_written_is_read_and_what_was_cut_is_not() {
        let asked = headers(&[("accept", "a"), ("accept", "b")]);
        let passed = passed(&asked);
        let written = passed.encode();
        let read = StoredResponse::read(written.clone()).unwrap();
        assert_eq!((read.status, &read.head), (passed.status, &passed.head));
        assert_eq!((&read.asked, read.for_all), (&passed.asked, true));
        assert!(matches!(&read.content, Content::Whole(body) if body == "text"));
        // Where the body begins is known only by what is before it.
        for end in 0..written.len() - 4 {
            assert!(
                StoredResponse::read(written.slice(..end)).is_none(),
                "{end}"
            );
        }
    }
}
