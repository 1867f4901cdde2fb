//! A stored response of a proxy route, and its variants by `Vary`.

use std::collections::BTreeSet;
use std::fmt::Write;

use axum::body::Body;
use axum::response::Response;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::cache::DecodedBody;
use crate::cache::length_prefixed::{get_headers, put_headers};
use crate::cache::rfc9111::compact_headers;
use crate::outbound::{ForwardRequest, InFlightGuard, InstanceClients};

/// A response that may be stored.
pub(super) struct StoredResponse {
    pub(super) status: StatusCode,
    /// The headers as the client gets them.
    pub(super) head: HeaderMap,
    /// The request's fields that `Vary` names.
    pub(super) varied_by: HeaderMap,
    /// Whether authenticated requests may share it (RFC 9111 §3.5).
    pub(super) shareable: bool,
    pub(super) content: Content,
}

/// The body of a response.
pub(super) enum Content {
    /// A buffered body, which can be stored.
    Full(Bytes),
    /// A streaming body, which is not stored. The first consumer takes it.
    Stream(Mutex<Option<StreamingRemainder>>),
}

/// The rest of a streaming body.
pub(super) struct StreamingRemainder {
    /// The bytes that were already read.
    pub(super) first: Bytes,
    pub(super) body: Incoming,
    pub(super) guard: InFlightGuard<InstanceClients>,
}

/// The cache key of a variant: the target, and the request's values of these fields.
pub(super) fn variant_key(request: &ForwardRequest, fields: &BTreeSet<String>) -> String {
    // No target contains a zero, so a call of a screen never has this key.
    let mut key = format!("{}\0", request.target);
    for name in fields {
        // Writing to a string cannot fail. An absent field has another key than an unnamed one.
        let _ = writeln!(key, "{name}");
        for value in request.headers.get_all(name) {
            let _ = writeln!(key, " {}", value.as_bytes().escape_ascii());
        }
    }
    key
}

/// The request's fields that `Vary` of a response names, in a buffer of their own.
pub(super) fn varied_by(request: &HeaderMap, head: &HeaderMap) -> HeaderMap {
    let vary = vary_fields(head);
    let named = request
        .iter()
        .filter(|(name, _)| vary.contains(name.as_str()));
    let mut fields = HeaderMap::new();
    for (name, value) in named {
        fields.append(name, value.clone());
    }
    compact_headers(&fields)
}

/// The names in `Vary`, in lower case.
fn vary_fields(head: &HeaderMap) -> BTreeSet<String> {
    let values = head.get_all(header::VARY).iter();
    let names = values.filter_map(|value| value.to_str().ok());
    let names = names.flat_map(|value| value.split(',')).map(str::trim);
    let names = names.filter(|name| !name.is_empty());
    names.map(str::to_ascii_lowercase).collect()
}

impl StoredResponse {
    /// The names in `Vary`, in lower case.
    pub(super) fn vary_fields(&self) -> BTreeSet<String> {
        vary_fields(&self.head)
    }

    /// Whether the request's fields match those of the original request (RFC 9111 §4.1).
    pub(super) fn matches_vary(&self, headers: &HeaderMap) -> bool {
        let equal = |name: &String| {
            let stored = self.varied_by.get_all(name);
            headers.get_all(name).iter().eq(stored.iter())
        };
        self.vary_fields().iter().all(equal)
    }

    /// A response with this body.
    pub(super) fn response(&self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.head.clone();
        response
    }

    /// Encodes the response for other replicas. A streaming body gives empty bytes.
    pub(super) fn encode(&self) -> Bytes {
        let Content::Full(body) = &self.content else {
            return Bytes::new();
        };
        let mut out = BytesMut::with_capacity(512 + body.len());
        out.put_u16(self.status.as_u16());
        out.put_u8(u8::from(self.shareable));
        put_headers(&mut out, &self.head);
        put_headers(&mut out, &self.varied_by);
        out.put_slice(body);
        out.freeze()
    }

    /// Decodes the bytes of another replica.
    pub(super) fn decode(bytes: &[u8]) -> Option<DecodedBody> {
        let stored = Self::read(Bytes::copy_from_slice(bytes))?;
        Some(DecodedBody::new(stored, 0))
    }

    fn read(mut from: Bytes) -> Option<Self> {
        let status = StatusCode::from_u16(from.try_get_u16().ok()?).ok()?;
        let shareable = from.try_get_u8().ok()? == 1;
        let (head, varied_by) = (get_headers(&mut from)?, get_headers(&mut from)?);
        Some(Self {
            status,
            head,
            varied_by,
            shareable,
            content: Content::Full(from),
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(sent: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn stored_response(request: &HeaderMap) -> StoredResponse {
        let head = headers(&[
            ("vary", "Accept, x-b"),
            ("vary", "accept"),
            ("x", "1"),
            ("x", "2"),
        ]);
        StoredResponse {
            status: StatusCode::NOT_FOUND,
            varied_by: varied_by(request, &head),
            head,
            shareable: true,
            content: Content::Full(Bytes::from_static(b"text")),
        }
    }

    #[test]
    fn a_response_matches_requests_with_equal_vary_fields() {
        let request = headers(&[("accept", "a"), ("x-c", "1")]);
        let stored = stored_response(&request);
        assert!(stored.matches_vary(&request));
        assert!(stored.matches_vary(&headers(&[("accept", "a"), ("x-c", "2")])));
        for other in [
            &[][..],
            &[("accept", "b")],
            &[("accept", "a"), ("accept", "a")],
            &[("accept", "a"), ("x-b", "")],
        ] {
            assert!(!stored.matches_vary(&headers(other)), "{other:?}");
        }
    }

    #[test]
    fn vary_values_do_not_keep_the_read_buffer_alive() {
        let buffer = Bytes::from(vec![b'x'; 4096]);
        let mut request = HeaderMap::new();
        let part = HeaderValue::from_maybe_shared(buffer.slice(..1));
        request.insert(header::ACCEPT, part.unwrap());
        let stored = stored_response(&request);
        assert!(stored.matches_vary(&request));
        drop(request);
        assert!(buffer.is_unique());
    }

    #[test]
    fn an_encoded_response_is_decoded_unless_it_is_truncated() {
        let request = headers(&[("accept", "a"), ("accept", "b")]);
        let stored = stored_response(&request);
        let encoded = stored.encode();
        let read = StoredResponse::read(encoded.clone()).unwrap();
        assert_eq!((read.status, &read.head), (stored.status, &stored.head));
        assert_eq!((&read.varied_by, read.shareable), (&stored.varied_by, true));
        assert!(matches!(&read.content, Content::Full(body) if body == "text"));
        // The body has no length, so only a truncation before it is detected.
        for end in 0..encoded.len() - 4 {
            assert!(
                StoredResponse::read(encoded.slice(..end)).is_none(),
                "{end}"
            );
        }
    }
}
