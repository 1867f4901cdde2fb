//! Whom a request came from, as the backend reads it: RFC 7239 and the older `X-Forwarded-…`.
//!
//! What a client says of itself is replaced. What a trusted proxy says is kept, and the proxy joins the list.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use super::headers::append;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Says where the request came from. `trusted` are the proxies whose word counts.
pub(super) fn set_forwarded_headers(
    headers: &mut HeaderMap,
    peer: Option<IpAddr>,
    host: Option<&Authority>,
    trusted: &[IpNet],
) {
    let believed =
        peer.is_some_and(|peer| trusted.iter().any(|net| net.contains(&peer.to_canonical())));
    if !believed {
        strip_forwarding_headers(headers);
    }
    // A pipe has no address; RFC 7239 §6.2 has a word for that.
    let peer = peer.map(|peer| peer.to_canonical());
    let node = match peer {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(v4)) => v4.to_string(),
        Some(IpAddr::V6(v6)) => format!("\"[{v6}]\""),
    };
    // Where TLS ends before this gateway, the proxy that ends it says so.
    let proto = "http";
    let mut element = format!("for={node};proto={proto}");
    if let Some(host) = host {
        element = format!("{element};host=\"{host}\"");
    }
    append(headers, header::FORWARDED, element.as_bytes());
    let peer = peer.map_or("unknown".to_owned(), |peer| peer.to_string());
    append(headers, X_FORWARDED_FOR, peer.as_bytes());
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    let host = host.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host.filter(|_| !headers.contains_key(X_FORWARDED_HOST)) {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// Everything by which a sender could say where it is not.
fn strip_forwarding_headers(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with("x-forwarded-")
                || matches!(name, "forwarded" | "x-real-ip" | "true-client-ip")
        })
        .cloned()
        .collect();
    for claim in claims {
        headers.remove(claim);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(peer: &str, trusted: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=203.0.113.9"),
            ("x-real-ip", "203.0.113.9"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let host: Authority = "shop.example:8080".parse().unwrap();
        set_forwarded_headers(&mut headers, peer.parse().ok(), Some(&host), &trusted);
        let of = |name| {
            headers
                .get(name)
                .map_or("", |v: &HeaderValue| v.to_str().unwrap())
                .to_owned()
        };
        [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-real-ip",
        ]
        .map(of)
        .to_vec()
    }

    #[test]
    fn what_a_client_claims_is_replaced() {
        assert_eq!(
            told("192.0.2.1", &["10.0.0.0/8"]),
            [
                "for=192.0.2.1;proto=http;host=\"shop.example:8080\"",
                "192.0.2.1",
                "http",
                "shop.example:8080",
                ""
            ]
        );
        assert_eq!(
            told("::1", &[])[0],
            "for=\"[::1]\";proto=http;host=\"shop.example:8080\""
        );
        assert_eq!(told("-", &[])[1], "unknown");
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept() {
        let told = told("::ffff:10.1.2.3", &["10.0.0.0/8"]);
        assert_eq!(
            told[0],
            "for=203.0.113.9, for=10.1.2.3;proto=http;host=\"shop.example:8080\""
        );
        assert_eq!(told[1..3], ["203.0.113.9, 10.1.2.3", "https"]);
    }
}
