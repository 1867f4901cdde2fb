//! Reads a backend's response body with a size limit, which is checked while reading and again after decompression.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use bff_context::context::{Failure, Reason};

fn bad_response(cause: &'static str) -> Failure {
    Failure::new(Reason::BadResponse).with_cause(cause)
}

/// Reads the complete body and decompresses it. Both forms may have at most `max` bytes.
pub async fn read_limited(
    headers: &HeaderMap,
    mut body: Incoming,
    max: usize,
) -> Result<Bytes, Failure> {
    if body.size_hint().lower() > max as u64 {
        return Err(bad_response("Content-Length exceeds max_body_bytes"));
    }
    let mut data = Bytes::new();
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| bad_response("the body ended early"))?;
        let Ok(chunk) = frame.into_data() else {
            continue;
        };
        if data.len() + buffer.len() + chunk.len() > max {
            return Err(bad_response("the body exceeds max_body_bytes"));
        }
        // A body in a single frame, the usual case, needs no copy.
        if data.is_empty() && buffer.is_empty() {
            data = chunk;
        } else {
            if buffer.is_empty() {
                buffer.extend_from_slice(&std::mem::take(&mut data));
            }
            buffer.extend_from_slice(&chunk);
        }
    }
    let data = if buffer.is_empty() {
        data
    } else {
        buffer.freeze()
    };
    if data.is_empty() {
        return Ok(data);
    }
    // The last coding of the list was applied last (RFC 9110 §8.4).
    let codings: Vec<_> = content_codings(headers).collect();
    let mut codings = codings.into_iter().rev();
    codings.try_fold(data, |data, coding| match &coding[..] {
        b"identity" => Ok(data),
        b"gzip" | b"x-gzip" => gunzip(&data, max),
        _ => Err(bad_response("unsupported Content-Encoding")),
    })
}

/// The codings of all lines, in lower case: they are case-insensitive (RFC 9110 §8.4.1). Empty members do not count.
fn content_codings(headers: &HeaderMap) -> impl Iterator<Item = Vec<u8>> {
    let lines = headers.get_all(header::CONTENT_ENCODING).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    let members = members.map(|member| member.trim_ascii().to_ascii_lowercase());
    members.filter(|member| !member.is_empty())
}

fn gunzip(compressed: &[u8], max: usize) -> Result<Bytes, Failure> {
    let mut decompressed = Vec::new();
    let limit = max as u64 + 1;
    flate2::read::MultiGzDecoder::new(compressed)
        .take(limit)
        .read_to_end(&mut decompressed)
        .map_err(|_| bad_response("the body is not valid gzip"))?;
    if decompressed.len() > max {
        return Err(bad_response("the decompressed body exceeds max_body_bytes"));
    }
    Ok(decompressed.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn codings_are_a_list_without_case() {
        for (lines, expected) in [
            (&[][..], &[][..]),
            (&[""], &[]),
            (&[",, ,"], &[]),
            (&["GZIP"], &["gzip"]),
            (&[" X-GZip\t"], &["x-gzip"]),
            (&["identity, gzip"], &["identity", "gzip"]),
            (&["gzip,,identity,"], &["gzip", "identity"]),
            (&["gzip", "br"], &["gzip", "br"]),
            (&["gzip;q=1"], &["gzip;q=1"]),
            (&["\"gzip\""], &["\"gzip\""]),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_ENCODING, line.parse().unwrap());
            }
            let codings = content_codings(&headers).map(|c| String::from_utf8(c).unwrap());
            assert_eq!(codings.collect::<Vec<_>>(), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_decompression_bomb_is_rejected_at_the_limit() {
        let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        compressed.write_all(&vec![0; 1 << 20]).unwrap();
        let compressed = compressed.finish().unwrap();
        assert!(gunzip(&compressed, 1 << 10).is_err());
        assert_eq!(gunzip(&compressed, 1 << 20).unwrap().len(), 1 << 20);
        assert!(gunzip(b"not gzip", 100).is_err());
    }
}
