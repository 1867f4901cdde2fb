//! How a copy is written down for other replicas: the answer as the backend sent it, and what was decided about it.
//!
//! The first byte is the version of all that follows. Who does not know it, or finds anything else than it says, has
//! found nothing: an old release never misreads what a new one wrote.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::cache::hash::Tag;
use crate::cache::length_prefixed::{get_bytes, get_len, put_bytes, put_len};
use crate::cache::rfc9111::StorageDecision;

/// The version of the encoding. Whatever changes it raises it.
const VERSION: u8 = 1;
/// Bodies above it are compressed: below it little is gained.
const COMPRESS_ABOVE: usize = 1 << 10;

/// What follows the version.
const UNKEPT: u8 = 0;
const PLAIN: u8 = 1;
const DEFLATED: u8 = 2;

/// What a replica tells the others about a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SharedRecord {
    /// Its answer may not be kept: nobody needs to wait for somebody else's call.
    Uncacheable,
    /// An answer.
    Response(Box<StoredResponse>),
}

/// An answer, and what was decided about it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredResponse {
    /// The latest purge that was known when it was asked for.
    pub(crate) since: u64,
    /// For how long it is kept: what is left of that says how long it has been there.
    pub(crate) ttl: Duration,
    pub(crate) terms: StorageDecision,
    pub(crate) tags: Box<[Tag]>,
    pub(crate) status: StatusCode,
    /// What of its head is kept.
    pub(crate) head: HeaderMap,
    pub(crate) body: Bytes,
}

impl SharedRecord {
    pub(crate) fn encode(&self) -> Bytes {
        let Self::Response(copy) = self else {
            return Bytes::from_static(&[VERSION, UNKEPT]);
        };
        let mut out = BytesMut::with_capacity(256 + copy.body.len());
        let packed = (copy.body.len() > COMPRESS_ABOVE).then(|| deflate(&copy.body));
        out.put_u8(VERSION);
        out.put_u8(if packed.is_some() { DEFLATED } else { PLAIN });
        out.put_u64(copy.since);
        for time in [
            copy.ttl,
            copy.terms.age,
            copy.terms.fresh_for,
            copy.terms.stale_while_revalidate,
            copy.terms.stale_if_error,
        ] {
            out.put_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        }
        out.put_u16(copy.status.as_u16());
        put_len(&mut out, copy.tags.len());
        for tag in &copy.tags {
            out.put_u64(tag.0);
        }
        put_len(&mut out, copy.head.len());
        for (name, value) in &copy.head {
            put_bytes(&mut out, name.as_str().as_bytes());
            put_bytes(&mut out, value.as_bytes());
        }
        put_len(&mut out, copy.body.len());
        out.put_slice(packed.as_deref().unwrap_or(&copy.body));
        out.freeze()
    }

    /// What was written; `None` for anything that this release did not write, and for bodies over `most` bytes.
    pub(crate) fn decode(mut from: Bytes, most: usize) -> Option<Self> {
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let kind = from.try_get_u8().ok()?;
        if kind == UNKEPT {
            return from.is_empty().then_some(Self::Uncacheable);
        }
        let since = from.try_get_u64().ok()?;
        let mut time = || from.try_get_u64().ok().map(Duration::from_millis);
        let (ttl, age, fresh_for) = (time()?, time()?, time()?);
        let (stale_while_revalidate, stale_if_error) = (time()?, time()?);
        let terms = StorageDecision {
            may_keep: true,
            age,
            fresh_for,
            stale_while_revalidate,
            stale_if_error,
        };
        let status = StatusCode::from_u16(from.try_get_u16().ok()?).ok()?;
        let count = get_len(&mut from)?;
        let tags = (0..count).map(|_| from.try_get_u64().ok().map(Tag));
        let tags = tags.collect::<Option<_>>()?;
        let mut head = HeaderMap::new();
        for _ in 0..get_len(&mut from)? {
            let name = HeaderName::from_bytes(&get_bytes(&mut from)?).ok()?;
            head.append(
                name,
                HeaderValue::from_maybe_shared(get_bytes(&mut from)?).ok()?,
            );
        }
        let size = get_len(&mut from).filter(|size| *size <= most)?;
        let body = match kind {
            PLAIN => from,
            DEFLATED => inflate(&from, size)?,
            _ => return None,
        };
        let whole = body.len() == size;
        whole.then(|| {
            Self::Response(Box::new(StoredResponse {
                since,
                ttl,
                terms,
                tags,
                status,
                head,
                body,
            }))
        })
    }
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let room = Vec::with_capacity(plain.len() / 2);
    let mut encoder = DeflateEncoder::new(room, Compression::fast());
    // Neither writing into memory nor finishing there can fail; were it so, the record would be none.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}

fn inflate(packed: &[u8], size: usize) -> Option<Bytes> {
    let mut plain = Vec::with_capacity(size);
    // One byte more than it says would show.
    let mut bounded = DeflateDecoder::new(packed).take(size as u64 + 1);
    bounded.read_to_end(&mut plain).ok()?;
    Some(plain.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;
    use proptest::prelude::*;

    const MOST: usize = 1 << 20;

    fn copy(body: Vec<u8>) -> SharedRecord {
        let mut head = HeaderMap::new();
        head.append(header::ETAG, HeaderValue::from_static("\"v1\""));
        head.append(
            header::CACHE_CONTROL,
            HeaderValue::from_static("max-age=60"),
        );
        head.append(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        SharedRecord::Response(Box::new(StoredResponse {
            since: u64::MAX,
            ttl: Duration::from_millis(61_234),
            terms: StorageDecision {
                may_keep: true,
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
    fn what_is_written_is_read_and_long_bodies_are_compressed() {
        for size in [0, 1, COMPRESS_ABOVE, COMPRESS_ABOVE + 1, 100_000] {
            let record = copy(b"abcdefgh".iter().copied().cycle().take(size).collect());
            let written = record.encode();
            assert_eq!(SharedRecord::decode(written.clone(), MOST), Some(record));
            assert!(size <= COMPRESS_ABOVE || written.len() < size / 2, "{size}");
            // Not more than there is room for.
            assert_eq!(
                SharedRecord::decode(written, size.saturating_sub(1)).is_some(),
                size == 0
            );
        }
        let unkept = SharedRecord::Uncacheable.encode();
        assert_eq!(
            SharedRecord::decode(unkept, MOST),
            Some(SharedRecord::Uncacheable)
        );
    }

    #[test]
    fn another_version_is_nothing() {
        let written = copy(b"{}".to_vec()).encode();
        for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
            let mut other = written.to_vec();
            other[0] = version;
            assert_eq!(SharedRecord::decode(other.into(), MOST), None, "{version}");
        }
    }

    #[test]
    fn a_record_that_was_cut_is_nothing() {
        for body in [b"{}".to_vec(), vec![b'x'; 5000]] {
            let written = copy(body).encode();
            for end in 0..written.len() {
                assert_eq!(
                    SharedRecord::decode(written.slice(..end), MOST),
                    None,
                    "{end}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not_and_harm_nobody(mut bytes: Vec<u8>) {
            let _ = SharedRecord::decode(bytes.clone().into(), MOST);
            bytes.splice(..0, [VERSION, DEFLATED]);
            let _ = SharedRecord::decode(bytes.into(), MOST);
        }

        #[test]
        fn any_body_comes_back(body: Vec<u8>) {
            let record = copy(body);
            prop_assert_eq!(SharedRecord::decode(record.encode(), MOST), Some(record));
        }
    }
}
