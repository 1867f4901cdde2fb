//! The client's IP address: the peer's, or the one in the headers of the trusted proxies in front of this gateway.
//!
//! The header is read from the right, because each proxy appends the address of its own peer. Values to the left of the
//! first address that is not a trusted proxy may be forged by the client.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::Request;
use bff_context::field_value;
use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The peer's address. The accept loop adds it to each request. `None` on a pipe.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<SocketAddr>);

/// The header that the trusted proxies write. The other one is ignored, because they may forward it as the client sent
/// it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which nearly every proxy writes.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The IP address of the client. `None` if the connection has no address, as on a pipe.
pub(in crate::inbound) fn client_address(
    request: &Request,
    trusted: &[IpNet],
    header_kind: ForwardedHeader,
) -> Option<IpAddr> {
    let peer = request.extensions().get::<Peer>()?.0?.ip().to_canonical();
    Some(resolve_client_ip(
        peer,
        request.headers(),
        trusted,
        header_kind,
    ))
}

fn resolve_client_ip(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
    header_kind: ForwardedHeader,
) -> IpAddr {
    let is_proxy = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_proxy(&peer) {
        return peer;
    }
    let name = match header_kind {
        ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => header::FORWARDED,
    };
    if headers
        .get_all(&name)
        .iter()
        .any(|line| line.to_str().is_err())
    {
        return peer;
    }
    let mut nearest = peer;
    let elements: Vec<&str> = field_value::members(headers, &name).collect();
    for element in elements.into_iter().rev() {
        let address = match header_kind {
            ForwardedHeader::XForwardedFor => parse_node(element),
            ForwardedHeader::Forwarded => {
                forwarded_parameter(element, "for").and_then(|node| parse_node(&node))
            }
        };
        // The values to the left of an unreadable one cannot be trusted. The nearest proxy counts as the client.
        let Some(address) = address else {
            return nearest;
        };
        nearest = address;
        if !is_proxy(&nearest) {
            return nearest;
        }
    }
    nearest
}

/// A parameter of one element of `Forwarded` (RFC 7239 §4).
pub(super) fn forwarded_parameter(element: &str, name: &str) -> Option<String> {
    // An element consists of parameters only, so an empty value comes first.
    let element = format!(";{element}");
    let (_, mut parameters) = field_value::with_parameters(&element);
    let (_, value) = parameters.find(|(other, _)| other.eq_ignore_ascii_case(name))?;
    Some(value.into_owned())
}

/// Parses `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` and `"[2001:db8::1]:80"`.
pub(super) fn parse_node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        // A single colon separates the port.
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => host,
            _ => text,
        },
    };
    host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// The part of an address that identifies one client: for IPv6 the /64 network, because one subscriber has all of it.
pub(in crate::inbound) fn client_prefix(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn resolve(peer: &str, header_kind: ForwardedHeader, lines: &[&'static str]) -> String {
        let name = match header_kind {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => header::FORWARDED,
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_static(line));
        }
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"]
            .map(|n| n.parse().unwrap())
            .into();
        resolve_client_ip(peer.parse().unwrap(), &headers, &trusted, header_kind).to_string()
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right_and_only_from_trusted_proxies() {
        let xff = |peer, lines| resolve(peer, ForwardedHeader::XForwardedFor, lines);
        assert_eq!(xff("192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(xff("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(
            xff("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"]),
            "203.0.113.9"
        );
        assert_eq!(
            xff("10.0.0.1", &["1.1.1.1", "203.0.113.9:4711"]),
            "203.0.113.9"
        );
        assert_eq!(xff("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(xff("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(xff("10.0.0.1", &["::ffff:203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn forwarded_is_read_like_x_forwarded_for() {
        let forwarded = |lines| resolve("fd00::1", ForwardedHeader::Forwarded, lines);
        assert_eq!(
            forwarded(&["for=1.1.1.1, For=\"[2001:db8::9]:4711\";proto=https"]),
            "2001:db8::9"
        );
        assert_eq!(
            forwarded(&["for=203.0.113.9;by=10.0.0.3, proto=http;for=10.0.0.2"]),
            "203.0.113.9"
        );
        assert_eq!(forwarded(&["for=1.1.1.1, for=_hidden"]), "fd00::1");
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client() {
        let prefix = |text: &str| client_prefix(text.parse().unwrap()).to_string();
        assert_eq!(prefix("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(prefix("192.0.2.1"), "192.0.2.1");
    }
}
