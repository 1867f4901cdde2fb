//! Where the instances of one backend are asked for, and how often.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Endpoint, parse};
use crate::config::Secret;
use crate::outbound::{BaseUrl, validate_id};

/// Where the instances of one backend are asked for. Its `url` still gives scheme, `Host` and path prefix; discovery
/// gives the addresses that connections go to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who knows the instances. Default `fixed`.
    pub kind: Kind,
    /// `fixed`: the instances, `{ address = "host:port", weight = 1, zone = "a" }`. Default: one, that of `url`.
    pub endpoints: Vec<StaticEndpoint>,
    /// The name asked for. `dns`: a host, by default that of `url`. `srv`: `_service._proto.name` (RFC 2782). `consul`:
    /// a service. DNS names are absolute: search domains would make a failure of one name look like "none" of another.
    pub name: Option<String>,
    /// `dns`, `srv`: the name server asked, `ip:port`. Default: those of `/etc/resolv.conf`, after `/etc/hosts`.
    pub nameserver: Option<SocketAddr>,
    /// `consul`: which agent is asked, and for what. Required there.
    pub consul: Option<Consul>,
    /// The least time between two questions, whatever the TTL, and the first wait after a failure. Default 1s: an
    /// instance that is gone is called for a second at most, and no source minds one question a second.
    #[serde(with = "crate::config::duration")]
    pub min_interval: Duration,
    /// The most time between two questions: `dns` and `srv` bound the TTL by it, `consul` blocks for it (`wait`), and
    /// waits after failures grow up to it. Default 60s: a record of a day must not keep a dead instance for a day.
    #[serde(with = "crate::config::duration")]
    pub max_interval: Duration,
    /// How long an answer may take, beyond what Consul is asked to block for. Default 2s: within a data centre either
    /// takes milliseconds, and a lost packet is asked for again within it.
    #[serde(with = "crate::config::duration")]
    pub timeout: Duration,
    /// How long start-up waits for the first answer. Default 3s: one question may time out. After it the gateway
    /// starts without, because what needs this backend less than all of its screens do should be served.
    #[serde(with = "crate::config::duration")]
    pub start_timeout: Duration,
}

/// One instance of a fixed list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StaticEndpoint {
    /// Where it listens: `host:port`, an IPv6 address in brackets.
    pub address: String,
    /// Its share of the calls, compared with the other instances'; at least 1. Default 1: equal shares.
    #[serde(default = "StaticEndpoint::weight")]
    pub weight: u16,
    /// The availability zone it runs in. Default: not known.
    #[serde(default)]
    pub zone: Option<String>,
}

impl StaticEndpoint {
    fn weight() -> u16 {
        1
    }
}

/// Who knows the instances of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Configuration: `endpoints`.
    #[default]
    Static,
    /// A and AAAA records (RFC 1035, RFC 3596), all on the port of `url`. AAAA are asked for when there is no A: an
    /// instance that has both is one instance.
    Dns,
    /// SRV records (RFC 2782) with port and weight. Of the priorities the lowest number that has an address is used.
    Srv,
    /// Consul's health endpoint: the instances whose checks pass, by blocking queries.
    Consul,
}

/// Which Consul agent is asked, and for which instances.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Consul {
    /// The agent's HTTP API, usually the machine's own: `http://127.0.0.1:8500`.
    pub url: BaseUrl,
    /// The ACL token, sent as `X-Consul-Token`; it needs `service:read` and `node:read`. Default: none,
    /// which an agent that has ACLs answers with an empty list, as if there were no instances.
    #[serde(default)]
    pub token: Option<Secret>,
    /// The datacenter asked (`dc`). Default: the agent's own.
    #[serde(default)]
    pub datacenter: Option<String>,
    /// Only instances that have all of these tags. Default: all instances.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The key of the service's metadata, else of the node's, that holds the zone. Default `zone`.
    #[serde(default = "Consul::zone_key")]
    pub zone_key: String,
}

impl Consul {
    fn zone_key() -> String {
        "zone".to_owned()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: Kind::Static,
            endpoints: Vec::new(),
            name: None,
            nameserver: None,
            consul: None,
            min_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(60),
            timeout: Duration::from_secs(2),
            start_timeout: Duration::from_secs(3),
        }
    }
}

impl Config {
    /// What no type can say. A key that the kind does not read is refused: whoever wrote it expects it to matter.
    pub(super) fn check(&self) -> Result<(), String> {
        let only = |set: bool, key: &str, kinds: &[Kind]| {
            if !set || kinds.contains(&self.kind) {
                return Ok(());
            }
            Err(format!("{key}: not read by this kind"))
        };
        only(!self.endpoints.is_empty(), "endpoints", &[Kind::Static])?;
        only(
            self.nameserver.is_some(),
            "nameserver",
            &[Kind::Dns, Kind::Srv],
        )?;
        only(self.consul.is_some(), "consul", &[Kind::Consul])?;
        let named = [Kind::Dns, Kind::Srv, Kind::Consul];
        only(self.name.is_some(), "name", &named)?;
        self.fixed()?;
        if self.min_interval.is_zero() || self.min_interval > self.max_interval {
            return Err("min_interval: it is over 0s and at most max_interval".to_owned());
        }
        if self.timeout.is_zero() {
            return Err("timeout: it is over 0s".to_owned());
        }
        Ok(())
    }

    /// The fixed list, parsed.
    pub(super) fn fixed(&self) -> Result<Vec<Endpoint>, String> {
        let instance = |fixed: &StaticEndpoint| {
            let address = parse(&fixed.address).filter(|_| fixed.weight > 0);
            let refused = || {
                let address = &fixed.address;
                format!("endpoints: {address:?} needs host:port and a weight of at least 1")
            };
            Ok(Endpoint {
                address: address.ok_or_else(refused)?,
                weight: fixed.weight,
                zone: fixed.zone.clone(),
            })
        };
        self.endpoints.iter().map(instance).collect()
    }

    /// The name asked for, where there is no other to fall back to.
    pub(super) fn required_name(&self) -> Result<&str, String> {
        self.name
            .as_deref()
            .ok_or_else(|| "name: required by this kind".to_owned())
    }

    /// Agent and service, checked: the service becomes a segment of a path.
    pub(super) fn required_consul(&self) -> Result<(&Consul, &str), String> {
        let missing = "consul: required by this kind";
        let consul = self.consul.as_ref().ok_or(missing)?;
        let name = self.required_name()?;
        validate_id(name).map_err(|why| format!("name: {why}"))?;
        Ok((consul, name))
    }
}
