//! What a request's head must be: one sane Host, bounded headers, and leave to send an answer at all.

use axum::extract::Request;
use http::uri::Authority;
use http::{HeaderMap, Version, header};

use crate::error::{Error, codes};
use crate::inbound::extract::language::parse_quality;

/// The longest single header, name and value.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// The most headers.
const MAX_HEADERS: usize = 100;

/// The encodings there are.
const ENCODINGS: [&str; 4] = ["br", "zstd", "gzip", "x-gzip"];

/// Refuses a head that is oversized, whose Host is missing, doubled or malformed (RFC 9112 §3.2), or that takes no answer.
pub(in crate::inbound) fn check(request: &Request) -> Result<(), Error> {
    let headers = request.headers();
    let long = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() > MAX_HEADER_BYTES
    };
    if headers.len() > MAX_HEADERS || headers.iter().any(long) {
        let detail = "One header is over 16 kB, or there are more than 100.";
        return Err(Error::new(codes::HEADERS_TOO_LARGE, detail));
    }
    let bad = |detail| Err(Error::new(codes::INVALID_REQUEST, detail));
    // Before anything is done: a write whose answer cannot be sent would be done all the same.
    if refuses_every_encoding(headers) {
        let detail = "Accept-Encoding takes neither br, zstd or gzip nor the content as it is.";
        return Err(Error::new(codes::NOT_ACCEPTABLE, detail));
    }
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

/// Whether content may be sent neither encoded nor as it is (RFC 9110 §12.5.3).
fn refuses_every_encoding(headers: &HeaderMap) -> bool {
    let (mut as_it_is, mut any) = (None, None);
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    for range in lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|l| l.split(','))
    {
        let (name, weight) = parse_quality(range);
        if name.eq_ignore_ascii_case("identity") {
            as_it_is = Some(weight);
        } else if name == "*" {
            any = Some(weight);
        } else if weight > 0 && ENCODINGS.iter().any(|e| name.eq_ignore_ascii_case(e)) {
            return false;
        }
    }
    any.unwrap_or_default() == 0 && as_it_is.or(any) == Some(0)
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

    #[test]
    fn an_answer_may_be_sent_in_some_encoding() {
        for (sent, refused) in [
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
        ] {
            let answer = with(&[("host", "a"), ("accept-encoding", sent)]);
            assert_eq!(answer.is_err(), refused, "{sent}");
        }
        let lines = [
            ("host", "a"),
            ("accept-encoding", "*;q=0"),
            ("accept-encoding", "br"),
        ];
        assert_eq!(with(&lines), Ok(()));
    }
}
