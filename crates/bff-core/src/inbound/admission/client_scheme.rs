//! Whether the client's connection uses TLS. This server has no TLS of its own, so only a trusted proxy can say so.

use axum::extract::Request;
use bff_context::field_value;
use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use super::client_ip::{self, Peer};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether a trusted proxy says that the client uses `https`, and none says otherwise.
pub(in crate::inbound) fn is_https(request: &Request, trusted: &[IpNet]) -> bool {
    let peer = request.extensions().get::<Peer>();
    let peer = peer
        .and_then(|peer| peer.0)
        .map(|peer| peer.ip().to_canonical());
    let is_trusted = peer.is_some_and(|peer| trusted.iter().any(|net| net.contains(&peer)));
    is_trusted && says_https(request.headers(), trusted)
}

fn says_https(headers: &HeaderMap, trusted: &[IpNet]) -> bool {
    let forwarded = forwarded_proto(headers, trusted);
    let mut schemes = field_value::members(headers, &X_FORWARDED_PROTO)
        .map(str::to_owned)
        .chain(forwarded)
        .peekable();
    schemes.peek().is_some() && schemes.all(|scheme| scheme.eq_ignore_ascii_case("https"))
}

/// The `proto` parameter of the proxy that the client is connected to: of the nearest element whose `for` is not a
/// trusted proxy.
fn forwarded_proto(headers: &HeaderMap, trusted: &[IpNet]) -> Option<String> {
    let mut proto = None;
    let elements: Vec<&str> = field_value::members(headers, &header::FORWARDED).collect();
    for element in elements.into_iter().rev() {
        proto = client_ip::forwarded_parameter(element, "proto");
        let node = client_ip::forwarded_parameter(element, "for");
        let node = node.and_then(|node| client_ip::parse_node(&node));
        if !node.is_some_and(|node| trusted.iter().any(|net| net.contains(&node))) {
            break;
        }
    }
    proto
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_proxy_says_https_in_one_of_two_headers() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (sent, https) in [
            (&[][..], false),
            (&[("x-forwarded-proto", "https")], true),
            (&[("x-forwarded-proto", "HTTPS")], true),
            (&[("x-forwarded-proto", "http")], false),
            (&[("x-forwarded-proto", "https, http")], false),
            (&[("x-forwarded-proto", "")], false),
            (&[("forwarded", "for=192.0.2.1;proto=https")], true),
            (
                &[("forwarded", "for=\"[2001:db8::1]:80\"; Proto=\"HTTPS\"")],
                true,
            ),
            (&[("forwarded", "for=192.0.2.1;proto=http")], false),
            (&[("forwarded", "for=192.0.2.1")], false),
            // The nearest proxy is behind another one.
            (
                &[(
                    "forwarded",
                    "for=192.0.2.1;proto=https, for=10.0.0.2;proto=http",
                )],
                true,
            ),
            (
                &[(
                    "forwarded",
                    "for=192.0.2.1;proto=http, for=10.0.0.2;proto=https",
                )],
                false,
            ),
            // The first element may be forged.
            (
                &[(
                    "forwarded",
                    "for=1.1.1.1;proto=https, for=192.0.2.1;proto=http",
                )],
                false,
            ),
            (
                &[("forwarded", "for=192.0.2.1;by=\"a, b;proto=https\"")],
                false,
            ),
            (
                &[
                    ("forwarded", "for=192.0.2.1;proto=https"),
                    ("x-forwarded-proto", "http"),
                ],
                false,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(says_https(&headers, &trusted), https, "{sent:?}");
        }
    }
}
