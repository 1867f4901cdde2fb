//! What a request's head must be: one sane Host, bounded headers.

use axum::extract::Request;
use http::uri::Authority;
use http::{Version, header};

use crate::error::{Error, codes};

/// The longest single header, name and value.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// The most headers.
const MAX_HEADERS: usize = 100;

/// Refuses a head that is oversized, or whose Host is missing, doubled or malformed (RFC 9112 §3.2).
pub(super) fn check(request: &Request) -> Result<(), Error> {
    let headers = request.headers();
    let long = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() > MAX_HEADER_BYTES
    };
    if headers.len() > MAX_HEADERS || headers.iter().any(long) {
        let detail = "One header is over 16 kB, or there are more than 100.";
        return Err(Error::new(codes::HEADERS_TOO_LARGE, detail));
    }
    let bad = |detail| Err(Error::new(codes::INVALID_REQUEST, detail));
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() < Version::HTTP_11 => Ok(()),
        (None, _) if request.uri().authority().is_some() => Ok(()),
        (None, _) => bad("The Host header is missing."),
        (Some(_), Some(_)) => bad("The Host header was sent more than once."),
        (Some(host), None) => match host.to_str().map(str::parse::<Authority>) {
            Ok(Ok(host)) if !host.as_str().contains('@') => Ok(()),
            _ => bad("The Host header is malformed."),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn with(headers: &[(&str, &str)]) -> Result<(), u16> {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        check(&request).map_err(|e| e.status().as_u16())
    }

    #[test]
    fn one_sane_host_and_bounded_headers() {
        assert_eq!(with(&[("host", "localhost:8080")]), Ok(()));
        assert_eq!(with(&[]), Err(400));
        assert_eq!(with(&[("host", "a"), ("host", "b")]), Err(400));
        for bad in ["", "a b", "a/b", "u@h", "a:b:c"] {
            assert_eq!(with(&[("host", bad)]), Err(400), "{bad:?}");
        }
        let long = "x".repeat(MAX_HEADER_BYTES);
        assert_eq!(with(&[("host", "a"), ("x", &long)]), Err(431));
        assert_eq!(with(&[("x", "y"); MAX_HEADERS + 1]), Err(431));
    }
}
