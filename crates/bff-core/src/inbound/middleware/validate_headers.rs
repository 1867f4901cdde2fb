//! Validates a request's headers: bounded sizes, a target with one authority, a body that can be read, and an encoding
//! that can be sent.

use axum::extract::Request;
use bff_context::field_value;
use http::{HeaderMap, header};

use super::{request_target, transfer_encoding};
use crate::error::{Error, codes};

/// The largest header, name and value together.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// The largest number of headers.
const MAX_HEADERS: usize = 100;

/// The content encodings that the gateway or a backend may use.
const ENCODINGS: [&str; 4] = ["br", "zstd", "gzip", "x-gzip"];

/// Rejects headers that are too large, a malformed target or body, and an `Accept-Encoding` that allows no response.
/// Afterwards, the URI has only path and query, and `Host` has the authority.
pub(in crate::inbound) fn check(request: &mut Request) -> Result<(), Error> {
    let headers = request.headers();
    let long = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() > MAX_HEADER_BYTES
    };
    if headers.len() > MAX_HEADERS || headers.iter().any(long) {
        let detail = "A header is over 16 kB, or there are more than 100.";
        return Err(Error::new(codes::HEADERS_TOO_LARGE, detail));
    }
    transfer_encoding::check(headers)?;
    // Checked before the handler runs: otherwise a write would be executed although its response cannot be sent.
    if refuses_every_encoding(headers) {
        let detail =
            "None of the encodings in Accept-Encoding is supported (br, zstd, gzip, identity).";
        return Err(Error::new(codes::NOT_ACCEPTABLE, detail));
    }
    request_target::normalize(request)
}

/// Whether every supported encoding and `identity` are excluded (RFC 9110 §12.5.3).
fn refuses_every_encoding(headers: &HeaderMap) -> bool {
    let (mut identity, mut any) = (None, None);
    let ranges = field_value::members(headers, &header::ACCEPT_ENCODING);
    for (name, weight) in ranges.map(field_value::with_weight) {
        // A malformed weight says nothing.
        let Some(weight) = weight else { continue };
        if name.eq_ignore_ascii_case("identity") {
            identity = Some(weight);
        } else if name == "*" {
            any = Some(weight);
        } else if weight > 0 && ENCODINGS.iter().any(|e| name.eq_ignore_ascii_case(e)) {
            return false;
        }
    }
    any.unwrap_or_default() == 0 && identity.or(any) == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn check_headers(headers: &[(&str, &str)]) -> Result<(), u16> {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        check(&mut request).map_err(|e| e.status().as_u16())
    }

    #[test]
    fn header_sizes_are_checked() {
        assert_eq!(check_headers(&[("host", "localhost:8080")]), Ok(()));
        assert_eq!(check_headers(&[]), Err(400));
        let long = "x".repeat(MAX_HEADER_BYTES);
        assert_eq!(check_headers(&[("host", "a"), ("x", &long)]), Err(431));
        assert_eq!(check_headers(&[("x", "y"); MAX_HEADERS + 1]), Err(431));
    }

    #[test]
    fn an_accept_encoding_that_allows_nothing_is_rejected() {
        for (sent, rejected) in [
            ("identity;q=0", true),
            ("*;q=0", true),
            ("deflate, identity; q=0.0", true),
            ("gzip;q=0, *;q=0", true),
            ("", false),
            ("deflate", false),
            ("gzip;q=0", false),
            ("identity;q=0, gzip", false),
            ("identity;q=0, *", false),
            ("*;q=0, identity", false),
            ("*;q=0, X-GZIP;q=0.001", false),
            ("*;q=0, x-gzip;q=0.000", true),
            ("*;q=0, IDENTITY;Q=0.1", false),
            (", *;q=0 ,", true),
            ("identity;q=0, compress", true),
            ("identity;q=0, gzip;q=x", true),
            ("identity;q=2", false),
            ("identity;q=0.0001", false),
        ] {
            let result = check_headers(&[("host", "a"), ("accept-encoding", sent)]);
            assert_eq!(result.is_err(), rejected, "{sent}");
        }
        let lines = [
            ("host", "a"),
            ("accept-encoding", "*;q=0"),
            ("accept-encoding", "br"),
        ];
        assert_eq!(check_headers(&lines), Ok(()));
    }
}
