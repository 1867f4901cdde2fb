//! The transfer codings of a request (RFC 9112 §6.1): only `chunked` is implemented.
//!
//! hyper removes `chunked` from the body if it is the last coding, and rejects every other last coding with 400.

use http::{HeaderMap, header};

use crate::error::{Error, codes};

/// Rejects other codings than one `chunked`: 501 for a coding that is not implemented, 400 for a second `chunked`.
pub(in crate::inbound) fn check(headers: &HeaderMap) -> Result<(), Error> {
    let invalid = |detail| Err(Error::new(codes::INVALID_REQUEST, detail));
    let mut chunked = false;
    for line in headers.get_all(header::TRANSFER_ENCODING) {
        let Ok(line) = line.to_str() else {
            return invalid("The Transfer-Encoding header is malformed.");
        };
        for coding in line.split(',').map(str::trim).filter(|c| !c.is_empty()) {
            if chunked {
                return invalid("The transfer coding chunked must be the last one, and only once.");
            }
            chunked = coding.eq_ignore_ascii_case("chunked");
            if !chunked {
                let detail = "The only supported transfer coding is chunked.";
                return Err(Error::new(codes::NOT_IMPLEMENTED, detail));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_one_chunked_is_supported() {
        for (lines, status) in [
            (&[][..], None),
            (&["chunked"], None),
            (&[" Chunked\t"], None),
            (&[",chunked,"], None),
            (&["gzip, chunked"], Some(501)),
            (&["gzip", "chunked"], Some(501)),
            (&["foo;a=\"b\", chunked"], Some(501)),
            (&["identity, chunked"], Some(501)),
            (&["chunked;q=1"], Some(501)),
            (&["chunked, chunked"], Some(400)),
            (&["chunked", "chunked"], Some(400)),
            (&["chunked, gzip"], Some(400)),
            (&["chunked, gzip, chunked"], Some(400)),
            (&["\u{e9}"], Some(400)),
        ] {
            let value = |line: &&str| HeaderValue::from_bytes(line.as_bytes()).unwrap();
            let lines: Vec<HeaderValue> = lines.iter().map(value).collect();
            let headers = lines.iter().map(|l| (header::TRANSFER_ENCODING, l.clone()));
            let rejected = check(&headers.clone().collect()).err();
            assert_eq!(rejected.map(|e| e.status().as_u16()), status, "{lines:?}");
        }
    }
}
