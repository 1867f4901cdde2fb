//! Reading a backend's answer within a bound, counted while reading and again after decompression.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::{Failure, Reason};

fn bad(cause: &'static str) -> Failure {
    Failure::new(Reason::BadResponse).with_cause(cause)
}

/// The whole body, decoded, of at most `max` bytes.
pub(crate) async fn read_limited(
    headers: &HeaderMap,
    mut body: Incoming,
    max: usize,
) -> Result<Bytes, Failure> {
    if body.size_hint().lower() > max as u64 {
        return Err(bad("the body is announced over max_body_bytes"));
    }
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| bad("the body ended early"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + pieces.len() + data.len() > max {
            return Err(bad("the body is over max_body_bytes"));
        }
        // One piece, the usual case, is handed on without a copy.
        if whole.is_empty() && pieces.is_empty() {
            whole = data;
        } else {
            if pieces.is_empty() {
                pieces.extend_from_slice(&std::mem::take(&mut whole));
            }
            pieces.extend_from_slice(&data);
        }
    }
    let whole = if pieces.is_empty() {
        whole
    } else {
        pieces.freeze()
    };
    match headers
        .get(header::CONTENT_ENCODING)
        .map(http::HeaderValue::as_bytes)
    {
        None | Some(b"identity") => Ok(whole),
        Some(b"gzip") => inflate(&whole, max),
        Some(_) => Err(bad("the body is in an encoding nobody asked for")),
    }
}

fn inflate(packed: &[u8], max: usize) -> Result<Bytes, Failure> {
    let mut plain = Vec::new();
    let bound = max as u64 + 1;
    flate2::read::MultiGzDecoder::new(packed)
        .take(bound)
        .read_to_end(&mut plain)
        .map_err(|_| bad("the body is not the gzip it says it is"))?;
    if plain.len() > max {
        return Err(bad("the body unpacks to more than max_body_bytes"));
    }
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_bomb_is_refused_at_the_bound() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&vec![0; 1 << 20]).unwrap();
        let packed = packed.finish().unwrap();
        assert!(inflate(&packed, 1 << 10).is_err());
        assert_eq!(inflate(&packed, 1 << 20).unwrap().len(), 1 << 20);
        assert!(inflate(b"not gzip", 100).is_err());
    }
}
