//! A stored response of a proxy route, and its variants by `Vary`.

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

/// The names in `Vary` of the responses of a target.
pub(super) struct VaryFields(pub(super) Vec<HeaderName>);

/// A response that may be stored.
pub(super) struct StoredResponse {
    pub(super) status: StatusCode,
    /// The headers as the client gets them.
    pub(super) head: HeaderMap,
    /// The request's values of the fields in `Vary`.
    pub(super) vary_values: Vec<(HeaderName, Vec<HeaderValue>)>,
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

/// The cache key of a variant: the target, and the request's values of the fields in `Vary`.
pub(super) fn variant_key(request: &ForwardRequest, names: Option<&VaryFields>) -> String {
    // No target contains a zero, so a call of a screen never has this key.
    let mut key = format!("{}\0", request.target);
    for name in names.into_iter().flat_map(|names| &names.0) {
        for value in request.headers.get_all(name) {
            // Writing to a string cannot fail.
            let _ = writeln!(key, "{name}:{}", value.as_bytes().escape_ascii());
        }
    }
    key
}

/// The sorted names in `Vary`.
pub(super) fn vary_fields(head: &HeaderMap) -> Vec<HeaderName> {
    let values = head.get_all(header::VARY).iter();
    let names = values.filter_map(|value| value.to_str().ok());
    let names = names.flat_map(|value| value.split(','));
    let mut names: Vec<HeaderName> = names.filter_map(|name| name.trim().parse().ok()).collect();
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names
}

/// Copies the values of these fields, so that they do not keep the buffer of the whole request alive.
pub(super) fn copy_values(
    headers: &HeaderMap,
    names: Vec<HeaderName>,
) -> Vec<(HeaderName, Vec<HeaderValue>)> {
    let copy = |value: &HeaderValue| {
        // These bytes are a valid value, so this never fails.
        HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
    };
    let values = |name: HeaderName| {
        let values = headers.get_all(&name).iter().map(copy).collect();
        (name, values)
    };
    names.into_iter().map(values).collect()
}

impl StoredResponse {
    /// Whether the request's fields match those of the original request (RFC 9111 §4.1).
    pub(super) fn matches_vary(&self, headers: &HeaderMap) -> bool {
        (self.vary_values.iter())
            .all(|(name, values)| headers.get_all(name).iter().eq(values.iter()))
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
        put_len(&mut out, self.head.len());
        for (name, value) in &self.head {
            put_bytes(&mut out, name.as_str().as_bytes());
            put_bytes(&mut out, value.as_bytes());
        }
        put_len(&mut out, self.vary_values.len());
        for (name, values) in &self.vary_values {
            put_bytes(&mut out, name.as_str().as_bytes());
            put_len(&mut out, values.len());
            for value in values {
                put_bytes(&mut out, value.as_bytes());
            }
        }
        out.put_slice(body);
        out.freeze()
    }

    /// Decodes the bytes of another replica.
    pub(super) fn decode(bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
        Self::read(Bytes::copy_from_slice(bytes)).map(|stored| Arc::new(stored) as _)
    }

    fn read(mut from: Bytes) -> Option<Self> {
        let status = StatusCode::from_u16(from.try_get_u16().ok()?).ok()?;
        let shareable = from.try_get_u8().ok()? == 1;
        let mut head = HeaderMap::new();
        for _ in 0..get_len(&mut from)? {
            let name = HeaderName::from_bytes(&get_bytes(&mut from)?).ok()?;
            head.append(
                name,
                HeaderValue::from_maybe_shared(get_bytes(&mut from)?).ok()?,
            );
        }
        let mut vary_values = Vec::new();
        for _ in 0..get_len(&mut from)? {
            let name = HeaderName::from_bytes(&get_bytes(&mut from)?).ok()?;
            let mut values = Vec::new();
            for _ in 0..get_len(&mut from)? {
                values.push(HeaderValue::from_maybe_shared(get_bytes(&mut from)?).ok()?);
            }
            vary_values.push((name, values));
        }
        Some(Self {
            status,
            head,
            vary_values,
            shareable,
            content: Content::Full(from),
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

    fn stored_response(request: &HeaderMap) -> StoredResponse {
        let head = headers(&[
            ("vary", "Accept, x-b"),
            ("vary", "accept"),
            ("x", "1"),
            ("x", "2"),
        ]);
        StoredResponse {
            status: StatusCode::NOT_FOUND,
            vary_values: copy_values(request, vary_fields(&head)),
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
        assert_eq!(
            (&read.vary_values, read.shareable),
            (&stored.vary_values, true)
        );
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
