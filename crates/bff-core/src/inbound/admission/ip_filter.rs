//! The IP filter and the per-IP rate limit, both before authentication.

use std::net::IpAddr;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use super::client_ip::{client_address, client_prefix};
use crate::error::{Error, codes};
use crate::inbound::Config;
use crate::inbound::edge::Edge;

/// Returns the client's IP address for rate limits: for IPv6 the /64 network, and `None` on a pipe. The error is the
/// response.
pub(in crate::inbound) fn check_address(
    edge: &Edge,
    request: &Request,
) -> Result<Option<IpAddr>, Box<Response>> {
    let config = &edge.config;
    let address = client_address(request, &config.trusted_proxies, config.client_ip_header);
    if address.is_some_and(|address| !is_allowed(config, address)) {
        let detail = "Access from this IP address is not allowed.";
        let error = Error::new(codes::FORBIDDEN, detail);
        let error = error.with_cause("rejected by inbound.allow or inbound.deny");
        return Err(Box::new(error.into_response()));
    }
    let client = address.map(client_prefix);
    if let Err(rejection) = edge.limits.check_address(client) {
        let (limits, error) = *rejection;
        let mut response = error.into_response();
        limits.write_headers(response.headers_mut());
        return Err(Box::new(response));
    }
    Ok(client)
}

/// `deny` wins over `allow`. An empty `allow` allows every address.
fn is_allowed(config: &Config, address: IpAddr) -> bool {
    let contains = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&address));
    !contains(&config.deny) && (config.allow.is_empty() || contains(&config.allow))
}
