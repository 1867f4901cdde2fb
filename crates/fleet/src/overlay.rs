//! What a development fleet changes in each gateway's configuration: addresses, and credentials for a demo.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bff_core::auth::api_key;
use services_mock::Backend;
use toml::{Table, Value};

use crate::gateways::{Callers, Gateway};
use crate::toml_tables::{merge, parse, section, set};

/// The demo partner's key. It opens a fleet's partner gateway and nothing else: production refuses it by id and secret.
pub const PARTNER_KEY: &str = "bffp_demo_only-for-this-machine";
/// What the demo partner may do.
const PARTNER_SCOPES: [&str; 2] = ["catalogue:read", "availability:read"];
/// More a minute than this machine answers.
const WIDE: i64 = 10_000_000;
/// What the demo issuer's tokens name as their audience.
const AUDIENCE: &str = "bff";

/// Where one gateway listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// For clients.
    pub listen: SocketAddr,
    /// For operators.
    pub admin_listen: SocketAddr,
}

impl Addresses {
    /// How clients reach it, without a final slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// How operators reach it, without a final slash.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin_listen)
    }
}

/// One gateway's overlay as TOML, `extra` over it. `backends` holds the URL of all eight.
pub fn of(
    gateway: &Gateway,
    addresses: &Addresses,
    backends: &BTreeMap<Backend, String>,
    extra: Option<&str>,
) -> Result<String, String> {
    let (defaults, callers) = (gateway.defaults()?, gateway.callers());
    let mut overlay = Table::new();
    set(&mut overlay, &["mode"], "development");
    let listen = addresses.listen.to_string();
    set(&mut overlay, &["server", "listen"], listen);
    let admin = addresses.admin_listen.to_string();
    set(&mut overlay, &["server", "admin_listen"], admin);
    set(&mut overlay, &["server", "public_url"], addresses.url());
    // So that a load test from one machine meets the gateway, and not a limit that knows nothing of it yet.
    let initial = ["inbound", "load_shedding", "concurrency_limit", "initial"];
    set(&mut overlay, &initial, 1000);
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

/// No limit is in the way of a load test, which comes from one address; a partner's plan is part of the demo and stays.
fn relax_limits(overlay: &mut Table, defaults: &Table, callers: Callers) {
    let limits = section(defaults, "inbound").and_then(|inbound| section(inbound, "rate_limits"));
    let Some(limits) = limits else { return };
    if limits.contains_key("per_ip") {
        set(
            overlay,
            &["inbound", "rate_limits", "per_ip", "limit"],
            WIDE,
        );
    }
    if callers == Callers::People {
        for (name, _) in section(limits, "policies").into_iter().flatten() {
            let path = ["inbound", "rate_limits", "policies", name, "limit"];
            set(overlay, &path, WIDE);
        }
    }
}

/// The demo partner as configuration holds it: the secret's hash, never the secret.
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
