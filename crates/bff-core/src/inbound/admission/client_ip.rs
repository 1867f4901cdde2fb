//! Where a request really came from: the peer, or what the trusted proxies before this gateway say.
//!
//! Read from the right: each proxy adds whom it heard from at the end, so that everything left of the first address
//! that is no trusted proxy's may be the client's own invention.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::Request;
use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other side's address, put into a request by the accept loop.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<SocketAddr>);

/// Which header the trusted proxies write. The other one is not read: they may pass on what a client wrote there.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which nearly every proxy writes.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The address a request came from.
pub(in crate::inbound) fn client_address(
    request: &Request,
    trusted: &[IpNet],
    told: ForwardedHeader,
) -> Option<IpAddr> {
    let peer = request.extensions().get::<Peer>()?.0?.ip().to_canonical();
    Some(resolve_client_ip(peer, request.headers(), trusted, told))
}

fn resolve_client_ip(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
    told: ForwardedHeader,
) -> IpAddr {
    let is_proxy = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_proxy(&peer) {
        return peer;
    }
    let name = match told {
        ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => header::FORWARDED,
    };
    let lines: Vec<&str> = headers
        .get_all(name)
        .iter()
        .map(|line| line.to_str().unwrap_or_default())
        .collect();
    let mut nearest = peer;
    for element in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let address = match told {
            ForwardedHeader::XForwardedFor => parse_node(element),
            ForwardedHeader::Forwarded => forwarded_for(element).and_then(parse_node),
        };
        // What cannot be read hides what is left of it: the proxy that passed it on answers for it.
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

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `"[2001:db8::1]:80"`.
fn parse_node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        // One colon is a port's.
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => host,
            _ => text,
        },
    };
    host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// What counts as one client: an address, or of IPv6 the /64 that one subscriber has whole.
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

    fn from(peer: &str, told: ForwardedHeader, lines: &[&'static str]) -> String {
        let name = match told {
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
        resolve_client_ip(peer.parse().unwrap(), &headers, &trusted, told).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_from_the_right() {
        let xff = |peer, lines| from(peer, ForwardedHeader::XForwardedFor, lines);
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
    fn rfc_7239_is_read_alike() {
        let forwarded = |lines| from("fd00::1", ForwardedHeader::Forwarded, lines);
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
    fn a_subscriber_of_ipv6_is_one_client() {
        let one = |text: &str| client_prefix(text.parse().unwrap()).to_string();
        assert_eq!(one("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(one("192.0.2.1"), "192.0.2.1");
    }
}
