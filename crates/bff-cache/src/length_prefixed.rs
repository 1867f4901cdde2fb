//! Length-prefixed byte strings, the building block of stored records. A length has 4 bytes, big endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Appends a length.
pub fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
}

/// Reads a length.
pub fn get_len(from: &mut Bytes) -> Option<usize> {
    usize::try_from(from.try_get_u32().ok()?).ok()
}

/// Appends a byte string.
pub fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.put_slice(bytes);
}

/// Reads a byte string; `None` if it is truncated.
pub fn get_bytes(from: &mut Bytes) -> Option<Bytes> {
    let len = get_len(from)?;
    (len <= from.len()).then(|| from.split_to(len))
}
