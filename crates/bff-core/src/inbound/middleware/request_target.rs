//! The request target (RFC 9112 §3.2): checks its form, and moves its authority into `Host`.
//!
//! After [`normalize`], every request has its path in the URI and its authority in `Host`. So no two readers can see
//! two authorities.

use std::net::Ipv6Addr;
use std::str::FromStr;

use axum::extract::Request;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use crate::error::{Error, codes};

/// Rejects a target and a `Host` that do not fit together. Otherwise the URI has only path and query afterwards.
pub(in crate::inbound) fn normalize(request: &mut Request) -> Result<(), Error> {
    let host = host_field(request.headers())?;
    // Also required beside an absolute form. HTTP/2 has `:authority` instead (RFC 9113 §8.3.1).
    if host.is_none() && request.version() == Version::HTTP_11 {
        return Err(invalid("The Host header is missing."));
    }
    if request.method() == Method::CONNECT {
        return Ok(());
    }
    check_form(request.method(), request.uri())?;
    let Some(authority) = request.uri().authority().map(|a| a.as_str().to_owned()) else {
        return match host {
            None if request.version() > Version::HTTP_11 => {
                Err(invalid("The request has no authority."))
            }
            _ => Ok(()),
        };
    };
    if !is_valid_authority(&authority) {
        return Err(invalid("The authority of the request target is malformed."));
    }
    // In HTTP/1.1, an absolute form replaces `Host` (RFC 9112 §3.2.2).
    let scheme = request.uri().scheme().cloned().unwrap_or(Scheme::HTTP);
    if request.version() > Version::HTTP_11
        && host.is_some_and(|host| !is_same_authority(host, &authority, &scheme))
    {
        return Err(invalid("The Host header differs from :authority."));
    }
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = target.map_or_else(Uri::default, Uri::from);
    let host = HeaderValue::try_from(authority);
    let host = host.map_err(|_| invalid("The authority of the request target is malformed."))?;
    request.headers_mut().insert(header::HOST, host);
    Ok(())
}

/// The value of `Host`, if it was sent. It must be sent at most once.
fn host_field(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(invalid("The Host header was sent more than once.")),
        (Some(host), None) => match host.to_str() {
            Ok(host) if is_valid_authority(host) => Ok(Some(host)),
            _ => Err(invalid("The Host header is malformed.")),
        },
    }
}

/// Checks the form of a target of any method except CONNECT.
fn check_form(method: &Method, uri: &Uri) -> Result<(), Error> {
    if let Some(scheme) = uri.scheme() {
        if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
            return Err(invalid(
                "The scheme of the request target is not http or https.",
            ));
        }
    } else if uri.authority().is_some() {
        return Err(invalid(
            "Only CONNECT has an authority as its request target.",
        ));
    }
    if uri.path() == "*" && method != Method::OPTIONS {
        return Err(invalid("Only OPTIONS has the request target *."));
    }
    Ok(())
}

/// Whether this is `uri-host [ ":" port ]` (RFC 9110 §7.2) with a host, and a port that exists. It has no userinfo
/// (§4.2.4).
fn is_valid_authority(text: &str) -> bool {
    let (host, port) = split_port(text);
    let valid_port =
        port.is_empty() || port.bytes().all(|b| b.is_ascii_digit()) && u16::from_str(port).is_ok();
    valid_port && is_valid_host(host)
}

/// The host, and the port, which may be empty.
fn split_port(authority: &str) -> (&str, &str) {
    let after_address = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[after_address..].split_once(':') {
        None => (authority, ""),
        Some((host, port)) => (&authority[..after_address + host.len()], port),
    }
}

/// Whether this is a registered name, an IPv4 address or an IPv6 address in brackets (RFC 3986 §3.2.2). An `IPvFuture`
/// does not exist.
fn is_valid_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']');
        return address.is_some_and(|address| Ipv6Addr::from_str(address).is_ok());
    }
    let mut bytes = host.bytes();
    while let Some(byte) = bytes.next() {
        let valid = match byte {
            b'%' => {
                let mut is_digit = || bytes.next().is_some_and(|b| b.is_ascii_hexdigit());
                is_digit() && is_digit()
            }
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte),
        };
        if !valid {
            return false;
        }
    }
    !host.is_empty()
}

/// Whether both name the same host and port. The scheme gives the default port.
fn is_same_authority(a: &str, b: &str, scheme: &Scheme) -> bool {
    let default = if *scheme == Scheme::HTTPS {
        "443"
    } else {
        "80"
    };
    let port = |port: &str| match port {
        "" => default.parse::<u16>().ok(),
        port => port.parse().ok(),
    };
    let ((host_a, port_a), (host_b, port_b)) = (split_port(a), split_port(b));
    host_a.eq_ignore_ascii_case(host_b) && port(port_a) == port(port_b)
}

fn invalid(detail: &'static str) -> Error {
    Error::new(codes::INVALID_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    /// The URI and `Host` after normalization, or the status of the rejection.
    fn normalized(
        version: Version,
        line: &str,
        hosts: &[&str],
    ) -> Result<(String, Option<String>), u16> {
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = Request::builder()
            .version(version)
            .method(method)
            .uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        let mut request = request.body(Body::empty()).unwrap();
        normalize(&mut request).map_err(|error| error.status().as_u16())?;
        let host = request.headers().get(header::HOST);
        let host = host.map(|host| host.to_str().unwrap().to_owned());
        Ok((request.uri().to_string(), host))
    }

    #[test]
    fn http1_targets_have_the_forms_of_rfc_9112() {
        for (line, hosts, expected) in [
            ("GET /a?b", &["h"][..], Some(("/a?b", "h"))),
            ("GET /a", &["H:8080"], Some(("/a", "H:8080"))),
            ("GET /", &["h:"], Some(("/", "h:"))),
            ("GET /", &["[::1]:80"], Some(("/", "[::1]:80"))),
            ("GET /", &["a_b.c%2dd"], Some(("/", "a_b.c%2dd"))),
            ("GET //b/c", &["h"], Some(("//b/c", "h"))),
            ("GET http://o/a?b", &["h"], Some(("/a?b", "o"))),
            ("GET HTTPS://o:8443", &["h"], Some(("/", "o:8443"))),
            ("OPTIONS http://o", &["h"], Some(("/", "o"))),
            ("OPTIONS *", &["h"], Some(("*", "h"))),
            ("CONNECT h:443", &["h"], Some(("h:443", "h"))),
            ("GET /", &[], None),
            ("GET http://o/", &[], None),
            ("OPTIONS *", &[], None),
            ("CONNECT h:443", &[], None),
            ("GET /", &["h", "h"], None),
            ("GET http://o/", &["h", "h"], None),
            ("GET http://o/", &["a b"], None),
            ("GET http://u@o/", &["h"], None),
            ("GET http://u:p@o/", &["h"], None),
            ("GET http://o:x/", &["h"], None),
            ("GET http://[::g]/", &["h"], None),
            ("GET ftp://o/a", &["h"], None),
            ("GET ws://o/a", &["h"], None),
            ("GET h", &["h"], None),
            ("GET h:80", &["h"], None),
            ("POST h:80", &["h"], None),
            ("OPTIONS h:80", &["h"], None),
            ("GET *", &["h"], None),
            ("POST *", &["h"], None),
        ] {
            let expected = expected.map(|(uri, host)| (uri.to_owned(), Some(host.to_owned())));
            let actual = normalized(Version::HTTP_11, line, hosts);
            assert_eq!(actual, expected.ok_or(400), "{line} {hosts:?}");
        }
    }

    #[test]
    fn http10_needs_no_host() {
        let target = |line, hosts: &[&str]| normalized(Version::HTTP_10, line, hosts);
        assert_eq!(target("GET /", &[]), Ok(("/".to_owned(), None)));
        let replaced = Ok(("/".to_owned(), Some("o".to_owned())));
        assert_eq!(target("GET http://o/", &[]), replaced);
        assert_eq!(target("GET /", &["a/b"]), Err(400));
        assert_eq!(target("GET /", &["a", "b"]), Err(400));
    }

    #[test]
    fn an_http2_authority_agrees_with_host() {
        for (line, hosts, expected) in [
            ("GET https://o/a", &[][..], Ok("o")),
            ("GET https://o/a", &["o"], Ok("o")),
            ("GET https://o/a", &["O:443"], Ok("o")),
            ("GET http://o:80/a", &["o"], Ok("o:80")),
            ("GET /a", &["o"], Ok("o")),
            ("GET https://o/a", &["o:80"], Err(400)),
            ("GET https://o/a", &["other"], Err(400)),
            ("GET https://u@o/a", &[], Err(400)),
            ("GET https://o/a", &["o", "o"], Err(400)),
            ("GET /a", &[], Err(400)),
        ] {
            let host = normalized(Version::HTTP_2, line, hosts).map(|(_, host)| host.unwrap());
            assert_eq!(
                host.as_deref(),
                expected.as_ref().map(|h| *h),
                "{line} {hosts:?}"
            );
        }
    }

    #[test]
    fn a_malformed_host_is_rejected() {
        for bad in [
            "",
            ":80",
            "a b",
            "a/b",
            "a?b",
            "u@h",
            "a:b",
            "a:b:c",
            "a:80a",
            "a:+80",
            "a:65536",
            "a::80",
            "::1",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]x:80",
            "[v1.a]",
            "[fe80::1%25eth0]",
            "a%2",
            "a%zz",
            "a\"b",
            "a<b",
            "a\\b",
            "a|b",
            "http://a",
            "a, b",
            "\u{e9}",
        ] {
            let value = HeaderValue::from_bytes(bad.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(header::HOST, value)]);
            assert!(host_field(&headers).is_err(), "{bad:?}");
        }
    }
}
