//! The `Forwarded` (RFC 7239) and `X-Forwarded-…` headers for the backend.
//!
//! Headers of a client are replaced. Headers of a trusted proxy are extended by the proxy's own address.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use super::headers::append;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The fields, besides `X-Forwarded…`, in which proxies and CDNs write the address of a client.
const CLIENT_ADDRESS_FIELDS: [&str; 13] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "forwarded-for",
    "true-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-real-ip",
];

/// Sets the forwarding headers. Those of the peer stay only if it is in `trusted`.
pub(super) fn set_forwarded_headers(
    headers: &mut HeaderMap,
    peer: Option<IpAddr>,
    host: Option<&Authority>,
    trusted: &[IpNet],
) {
    let is_trusted =
        peer.is_some_and(|peer| trusted.iter().any(|net| net.contains(&peer.to_canonical())));
    if !is_trusted {
        strip_forwarding_headers(headers);
    }
    // A pipe has no address: `unknown` (RFC 7239 §6.2).
    let peer = peer.map(|peer| peer.to_canonical());
    let node = match peer {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(v4)) => v4.to_string(),
        Some(IpAddr::V6(v6)) => format!("\"[{v6}]\""),
    };
    // If a trusted proxy terminates TLS, its own headers say `https`.
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

/// Removes every header in which a client could forge its address.
fn strip_forwarding_headers(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with("x-forwarded") || CLIENT_ADDRESS_FIELDS.contains(&name)
        })
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarding_headers(peer: &str, trusted: &[&str]) -> Vec<String> {
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
        let value = |name| {
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
        .map(value)
        .to_vec()
    }

    #[test]
    fn headers_of_a_client_are_replaced() {
        assert_eq!(
            forwarding_headers("192.0.2.1", &["10.0.0.0/8"]),
            [
                "for=192.0.2.1;proto=http;host=\"shop.example:8080\"",
                "192.0.2.1",
                "http",
                "shop.example:8080",
                ""
            ]
        );
        assert_eq!(
            forwarding_headers("::1", &[])[0],
            "for=\"[::1]\";proto=http;host=\"shop.example:8080\""
        );
        assert_eq!(forwarding_headers("-", &[])[1], "unknown");
    }

    #[test]
    fn headers_of_a_trusted_proxy_are_extended() {
        let headers = forwarding_headers("::ffff:10.1.2.3", &["10.0.0.0/8"]);
        assert_eq!(
            headers[0],
            "for=203.0.113.9, for=10.1.2.3;proto=http;host=\"shop.example:8080\""
        );
        assert_eq!(headers[1..3], ["203.0.113.9, 10.1.2.3", "https"]);
    }
}
