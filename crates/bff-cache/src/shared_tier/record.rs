//! The encoding of records in the shared tier: the response as the backend sent it, and its storage decision.
//!
//! The first byte is the version of the encoding. A record of an unknown version, or one that is malformed, counts as
//! absent. So an old release never misreads a record of a newer one.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use http::{HeaderMap, StatusCode};

use crate::hash::Tag;
use crate::length_prefixed::{get_headers, get_len, put_headers, put_len};
use crate::rfc9111::StorageDecision;

/// The version of the encoding. Increment it with every change of the encoding.
const VERSION: u8 = 1;
/// Bodies above this many bytes are compressed; smaller ones gain little.
const COMPRESS_ABOVE: usize = 1 << 10;

/// The kind of the record: the byte after the version.
const UNCACHEABLE: u8 = 0;
const PLAIN: u8 = 1;
const DEFLATED: u8 = 2;

/// A record about one request, for all replicas.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SharedRecord {
    /// The response cannot be stored: no replica waits for the call of another.
    Uncacheable,
    /// A stored response.
    Response(Box<SharedResponse>),
}

/// A response, and its storage decision.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SharedResponse {
    /// The latest purge version known when the request was sent.
    pub(crate) purge_version: u64,
    /// The TTL of the record. The rest of it, as Redis reports it, gives the time since it was stored.
    pub(crate) ttl: Duration,
    pub(crate) decision: StorageDecision,
    pub(crate) tags: Box<[Tag]>,
    pub(crate) status: StatusCode,
    /// The stored header fields.
    pub(crate) head: HeaderMap,
    pub(crate) body: Bytes,
}

impl SharedRecord {
    pub(crate) fn encode(&self) -> Bytes {
        let Self::Response(response) = self else {
            return Bytes::from_static(&[VERSION, UNCACHEABLE]);
        };
        let mut out = BytesMut::with_capacity(256 + response.body.len());
        let compressed = (response.body.len() > COMPRESS_ABOVE).then(|| deflate(&response.body));
        out.put_u8(VERSION);
        out.put_u8(if compressed.is_some() {
            DEFLATED
        } else {
            PLAIN
        });
        out.put_u64(response.purge_version);
        for duration in [
            response.ttl,
            response.decision.age,
            response.decision.fresh_for,
            response.decision.stale_while_revalidate,
            response.decision.stale_if_error,
        ] {
            out.put_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        }
        out.put_u16(response.status.as_u16());
        put_len(&mut out, response.tags.len());
        for tag in &response.tags {
            out.put_u64(tag.0);
        }
        put_headers(&mut out, &response.head);
        put_len(&mut out, response.body.len());
        out.put_slice(compressed.as_deref().unwrap_or(&response.body));
        out.freeze()
    }

    /// Decodes a record; `None` if it is malformed or of another version, or if its body is over `max_body` bytes.
    pub(crate) fn decode(mut from: Bytes, max_body: usize) -> Option<Self> {
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let kind = from.try_get_u8().ok()?;
        if kind == UNCACHEABLE {
            return from.is_empty().then_some(Self::Uncacheable);
        }
        let purge_version = from.try_get_u64().ok()?;
        let mut duration = || from.try_get_u64().ok().map(Duration::from_millis);
        let (ttl, age, fresh_for) = (duration()?, duration()?, duration()?);
        let (stale_while_revalidate, stale_if_error) = (duration()?, duration()?);
        let decision = StorageDecision {
            may_store: true,
            age,
            fresh_for,
            stale_while_revalidate,
            stale_if_error,
        };
        let status = StatusCode::from_u16(from.try_get_u16().ok()?).ok()?;
        let count = get_len(&mut from)?;
        let tags = (0..count).map(|_| from.try_get_u64().ok().map(Tag));
        let tags = tags.collect::<Option<_>>()?;
        let head = get_headers(&mut from)?;
        let size = get_len(&mut from).filter(|size| *size <= max_body)?;
        let body = match kind {
            PLAIN => from,
            DEFLATED => inflate(&from, size)?,
            _ => return None,
        };
        let complete = body.len() == size;
        complete.then(|| {
            Self::Response(Box::new(SharedResponse {
                purge_version,
                ttl,
                decision,
                tags,
                status,
                head,
                body,
            }))
        })
    }
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let buffer = Vec::with_capacity(plain.len() / 2);
    let mut encoder = DeflateEncoder::new(buffer, Compression::fast());
    // Writing into memory cannot fail. If it did, the record would be malformed.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}

fn inflate(compressed: &[u8], size: usize) -> Option<Bytes> {
    let mut plain = Vec::with_capacity(size);
    // One byte more than stated, so that a longer body is found.
    let mut bounded = DeflateDecoder::new(compressed).take(size as u64 + 1);
    bounded.read_to_end(&mut plain).ok()?;
    Some(plain.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header};
    use proptest::prelude::*;

    const MAX_BODY: usize = 1 << 20;

    fn response(body: Vec<u8>) -> SharedRecord {
        let mut head = HeaderMap::new();
        head.append(header::ETAG, HeaderValue::from_static("\"v1\""));
        head.append(
            header::CACHE_CONTROL,
            HeaderValue::from_static("max-age=60"),
        );
        head.append(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        SharedRecord::Response(Box::new(SharedResponse {
            purge_version: u64::MAX,
            ttl: Duration::from_millis(61_234),
            decision: StorageDecision {
                may_store: true,
                age: Duration::from_millis(1500),
                fresh_for: Duration::from_secs(60),
                stale_while_revalidate: Duration::ZERO,
                stale_if_error: Duration::from_secs(600),
            },
            tags: [Tag::named("a"), Tag::upstream("b")].into(),
            status: StatusCode::OK,
            head,
            body: body.into(),
        }))
    }

    #[test]
    fn records_round_trip_and_long_bodies_are_compressed() {
        for size in [0, 1, COMPRESS_ABOVE, COMPRESS_ABOVE + 1, 100_000] {
            let record = response(b"abcdefgh".iter().copied().cycle().take(size).collect());
            let encoded = record.encode();
            assert_eq!(
                SharedRecord::decode(encoded.clone(), MAX_BODY),
                Some(record)
            );
            assert!(size <= COMPRESS_ABOVE || encoded.len() < size / 2, "{size}");
            // The body limit applies.
            assert_eq!(
                SharedRecord::decode(encoded, size.saturating_sub(1)).is_some(),
                size == 0
            );
        }
        let uncacheable = SharedRecord::Uncacheable.encode();
        assert_eq!(
            SharedRecord::decode(uncacheable, MAX_BODY),
            Some(SharedRecord::Uncacheable)
        );
    }

    #[test]
    fn another_version_counts_as_absent() {
        let encoded = response(b"{}".to_vec()).encode();
        for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
            let mut other = encoded.to_vec();
            other[0] = version;
            assert_eq!(
                SharedRecord::decode(other.into(), MAX_BODY),
                None,
                "{version}"
            );
        }
    }

    #[test]
    fn a_truncated_record_counts_as_absent() {
        for body in [b"{}".to_vec(), vec![b'x'; 5000]] {
            let encoded = response(body).encode();
            for end in 0..encoded.len() {
                assert_eq!(
                    SharedRecord::decode(encoded.slice(..end), MAX_BODY),
                    None,
                    "{end}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn decoding_any_bytes_does_not_panic(mut bytes: Vec<u8>) {
            let _ = SharedRecord::decode(bytes.clone().into(), MAX_BODY);
            bytes.splice(..0, [VERSION, DEFLATED]);
            let _ = SharedRecord::decode(bytes.into(), MAX_BODY);
        }

        #[test]
        fn any_body_round_trips(body: Vec<u8>) {
            let record = response(body);
            prop_assert_eq!(SharedRecord::decode(record.encode(), MAX_BODY), Some(record));
        }
    }
}
