//! The development configuration of each gateway: addresses, wide limits and demo credentials.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bff_core::auth::api_key;
use services_mock::Backend;
use toml::{Table, Value};

use crate::gateways::{Callers, Gateway};
use crate::toml_tables::{merge, parse, section, set};

/// The demo partner's API key. It is valid only in a fleet: production rejects its id and its secret.
pub const PARTNER_KEY: &str = "bffp_demo_only-for-this-machine";
/// The scopes of the demo partner.
const PARTNER_SCOPES: [&str; 2] = ["catalogue:read", "availability:read"];
/// A limit that one machine does not reach, in requests per minute.
const WIDE_LIMIT: i64 = 10_000_000;
/// The audience of the mocked issuer's tokens.
const AUDIENCE: &str = "bff";

/// The addresses of one gateway.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The public address.
    pub listen: SocketAddr,
    /// The admin address.
    pub admin_listen: SocketAddr,
}

impl Addresses {
    /// The public URL, without a final slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// The admin URL, without a final slash.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin_listen)
    }
}

/// The overlay of one gateway as TOML, with `extra` on top. `backends` has the URL of each backend.
pub fn build(
    gateway: &Gateway,
    addresses: &Addresses,
    backends: &BTreeMap<Backend, String>,
    extra: Option<&str>,
) -> Result<String, String> {
    let (defaults, callers) = (gateway.defaults()?, gateway.callers());
    let mut overlay = Table::new();
    set(&mut overlay, &["mode"], "development");
    // No load balancer has to notice the end of a development fleet.
    set(&mut overlay, &["server", "drain_delay"], "0s");
    let listen = addresses.listen.to_string();
    set(&mut overlay, &["server", "listen"], listen);
    let admin = addresses.admin_listen.to_string();
    set(&mut overlay, &["server", "admin_listen"], admin);
    set(&mut overlay, &["server", "public_url"], addresses.url());
    for name in gateway.upstreams() {
        let backend = name.parse::<Backend>();
        let backend = backend.map_err(|error| format!("upstreams.{name}: {error}"))?;
        let url = url(backends, backend)?;
        set(&mut overlay, &["upstreams", name, "url"], url);
    }
    relax_limits(&mut overlay, defaults, callers);
    if callers == Callers::People {
        let issuer = url(backends, Backend::Auth)?;
        set(&mut overlay, &["auth", "issuer"], issuer);
        set(&mut overlay, &["auth", "audience"], AUDIENCE);
        set(&mut overlay, &["auth", "jwks", "url"], issuer);
    }
    if callers == Callers::Partners {
        set(
            &mut overlay,
            &["auth", "api_keys", api_key::DEMO_ID],
            demo_key(),
        );
    }
    if let Some(extra) = extra {
        merge(&mut overlay, parse(extra, "the overlay")?);
    }
    toml::to_string(&overlay).map_err(|error| error.to_string())
}

/// Raises the rate limits for load tests from one IP address. The limits of a partner's plan stay: they are part of the demo.
fn relax_limits(overlay: &mut Table, defaults: &Table, callers: Callers) {
    let limits = section(defaults, "inbound").and_then(|inbound| section(inbound, "rate_limits"));
    let Some(limits) = limits else { return };
    if limits.contains_key("per_ip") {
        set(
            overlay,
            &["inbound", "rate_limits", "per_ip", "limit"],
            WIDE_LIMIT,
        );
    }
    if callers == Callers::People {
        for (name, _) in section(limits, "policies").into_iter().flatten() {
            let path = ["inbound", "rate_limits", "policies", name, "limit"];
            set(overlay, &path, WIDE_LIMIT);
        }
    }
}

/// The configuration of the demo partner, with the hash of the secret.
fn demo_key() -> Table {
    let mut key = Table::new();
    set(&mut key, &["hash"], api_key::hash(api_key::DEMO_SECRET));
    set(&mut key, &["account"], "demo-partner");
    set(&mut key, &["plan"], "gold");
    let scopes = PARTNER_SCOPES.map(Value::from).to_vec();
    set(&mut key, &["scopes"], scopes);
    key
}

fn url(backends: &BTreeMap<Backend, String>, backend: Backend) -> Result<&str, String> {
    let url = backends.get(&backend).map(String::as_str);
    url.ok_or_else(|| format!("no URL for backend {}", backend.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_is_printed_is_the_one_that_production_refuses() {
        let printed = format!("bffp_{}_{}", api_key::DEMO_ID, api_key::DEMO_SECRET);
        assert_eq!(PARTNER_KEY, printed);
    }
}
