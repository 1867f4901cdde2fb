//! Pieces of any length, one after the other, as records are written.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A length.
pub(crate) fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
}

/// A length.
pub(crate) fn get_len(from: &mut Bytes) -> Option<usize> {
    usize::try_from(from.try_get_u32().ok()?).ok()
}

/// A piece.
pub(crate) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.put_slice(bytes);
}

/// A piece; none where it was cut.
pub(crate) fn get_bytes(from: &mut Bytes) -> Option<Bytes> {
    let len = get_len(from)?;
    (len <= from.len()).then(|| from.split_to(len))
}
