//! Length-prefixed byte strings and lists of header fields, for stored records. A length has 4 bytes, big endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Appends a length.
pub fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
}

/// Reads a length.
pub fn get_len(from: &mut Bytes) -> Option<usize> {
    usize::try_from(from.try_get_u32().ok()?).ok()
}

/// Appends a byte string.
fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.put_slice(bytes);
}

/// Reads a byte string; `None` if it is truncated.
fn get_bytes(from: &mut Bytes) -> Option<Bytes> {
    let len = get_len(from)?;
    (len <= from.len()).then(|| from.split_to(len))
}

/// Appends header fields.
pub fn put_headers(out: &mut BytesMut, headers: &HeaderMap) {
    put_len(out, headers.len());
    for (name, value) in headers {
        put_bytes(out, name.as_str().as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

/// Reads header fields; `None` if they are truncated or malformed.
pub fn get_headers(from: &mut Bytes) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for _ in 0..get_len(from)? {
        let name = HeaderName::from_bytes(&get_bytes(from)?).ok()?;
        let value = HeaderValue::from_maybe_shared(get_bytes(from)?).ok()?;
        headers.append(name, value);
    }
    Some(headers)
}
