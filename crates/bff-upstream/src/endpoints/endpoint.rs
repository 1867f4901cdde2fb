//! An instance as service discovery reports it.

use std::net::IpAddr;
use std::time::Duration;

use http::uri::Authority;

/// An instance in the result of service discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port. They identify the instance.
    pub address: Authority,
    /// The weight relative to other instances, as in an SRV record; 0 counts as 1.
    pub weight: u16,
    /// The zone, if service discovery provides it.
    pub zone: Option<String>,
}

/// The result of one query.
pub(super) struct Resolution {
    pub(super) endpoints: Vec<Endpoint>,
    /// The validity of the result; `None` for a source with blocking queries, which is queried again at once.
    pub(super) ttl: Option<Duration>,
}

impl Endpoint {
    /// An endpoint with default weight and without a zone.
    pub(super) fn at(address: Authority) -> Self {
        Self {
            address,
            weight: 1,
            zone: None,
        }
    }
}

/// The address `host:port`, if it is valid.
pub(super) fn address(host: &str, port: u16) -> Option<Authority> {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => parse_address(&format!("[{ip}]:{port}")),
        _ => parse_address(&format!("{host}:{port}")),
    }
}

/// Parses `host:port`.
pub(super) fn parse_address(text: &str) -> Option<Authority> {
    let address: Authority = text.parse().ok()?;
    let complete = address.port_u16().is_some() && !address.host().is_empty();
    (complete && !text.contains('@')).then_some(address)
}

/// Sorts the endpoints by address and removes duplicates, so that the order of a source does not matter.
pub(super) fn sorted(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    endpoints.sort_by(|a, b| a.address.as_str().cmp(b.address.as_str()));
    endpoints.dedup_by(|b, a| a.address == b.address);
    endpoints
}
