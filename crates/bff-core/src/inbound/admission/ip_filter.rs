//! What an address may do before anything is known of who it is: the IP filter, and the address's own limit.

use std::net::IpAddr;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use super::client_ip::{client_address, client_prefix};
use crate::error::{Error, codes};
use crate::inbound::Config;
use crate::inbound::edge::Edge;

/// Where a request came from, as it counts: of IPv6 the /64, and none on a pipe. Otherwise the refusal.
pub(in crate::inbound) fn check_address(
    edge: &Edge,
    request: &Request,
) -> Result<Option<IpAddr>, Box<Response>> {
    let config = &edge.config;
    let address = client_address(request, &config.trusted_proxies, config.client_ip_header);
    if address.is_some_and(|address| !is_allowed(config, address)) {
        let error = Error::new(codes::FORBIDDEN, "This address is not let in.");
        let error = error.with_cause("inbound.allow or inbound.deny");
        return Err(Box::new(error.into_response()));
    }
    let client = address.map(client_prefix);
    if let Err(refused) = edge.limits.check_address(client) {
        let (standing, error) = *refused;
        let mut response = error.into_response();
        standing.write_headers(response.headers_mut());
        return Err(Box::new(response));
    }
    Ok(client)
}

/// Denied is denied; else whoever is allowed, or everybody where nobody is named.
fn is_allowed(config: &Config, address: IpAddr) -> bool {
    let among = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&address));
    !among(&config.deny) && (config.allow.is_empty() || among(&config.allow))
}
