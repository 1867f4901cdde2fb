//! The settings of service discovery for one backend.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base_url::BaseUrl;
use crate::endpoints::endpoint::{Endpoint, parse_address};
use bff_config::Secret;
use bff_context::context::validate_id;

/// Service discovery for one backend. It provides the addresses of the connections. The backend's `url` still provides
/// the scheme, the `Host` header and the path prefix.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The source of the instances. Default `static`.
    pub kind: Kind,
    /// `static`: the instances, `{ address = "host:port", weight = 1, zone = "a" }`. Default: one instance at `url`.
    pub endpoints: Vec<StaticEndpoint>,
    /// The name to resolve. `dns`: a host, by default that of `url`. `srv`: `_service._proto.name` (RFC 2782).
    /// `consul`: a service. DNS names are absolute, without search domains: those could turn a lookup failure into an
    /// empty result.
    pub name: Option<String>,
    /// `dns`, `srv`: the name server, `ip:port`. Default: `/etc/hosts`, then the servers of `/etc/resolv.conf`.
    pub nameserver: Option<SocketAddr>,
    /// `consul`: the agent and the filter. Required for this kind.
    pub consul: Option<Consul>,
    /// The minimum time between two queries, regardless of the TTL, and the first delay after a failure. Default 1s:
    /// the gateway calls a removed instance for at most a second, and every source can serve one query per second.
    #[serde(with = "bff_config::duration")]
    pub min_interval: Duration,
    /// The maximum time between two queries. It limits the TTL (`dns`, `srv`) and the delay after failures, and is the
    /// `wait` of a blocking query (`consul`). Default 60s: with a TTL of a day, a removed instance must not stay for a
    /// day.
    #[serde(with = "bff_config::duration")]
    pub max_interval: Duration,
    /// The timeout of a query, in addition to the time for which a blocking query blocks. Default 2s: within a data
    /// centre a response takes milliseconds. The time is enough to repeat a lost packet.
    #[serde(with = "bff_config::duration")]
    pub timeout: Duration,
    /// The time for which start-up waits for the first result. Default 3s: one query may time out. After it the gateway
    /// starts without instances, because other screens may not need this backend.
    #[serde(with = "bff_config::duration")]
    pub start_timeout: Duration,
}

/// One instance of a static list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StaticEndpoint {
    /// The address: `host:port`, with an IPv6 address in brackets.
    pub address: String,
    /// The weight relative to the other instances; at least 1. Default 1.
    #[serde(default = "StaticEndpoint::weight")]
    pub weight: u16,
    /// The availability zone. Default: unknown.
    #[serde(default)]
    pub zone: Option<String>,
}

impl StaticEndpoint {
    fn weight() -> u16 {
        1
    }
}

/// The source of a backend's instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The static list `endpoints`.
    #[default]
    Static,
    /// A and AAAA records (RFC 1035, RFC 3596), with the port of `url`. AAAA is queried only if there is no A record,
    /// because an instance with both counts once.
    Dns,
    /// SRV records (RFC 2782) with port and weight. The records with the lowest priority number that have an address
    /// are used.
    Srv,
    /// Consul's health endpoint: the instances with passing checks, by blocking queries.
    Consul,
}

/// The Consul agent to query, and the filter for instances.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Consul {
    /// The URL of the agent's HTTP API, usually the local agent: `http://127.0.0.1:8500`.
    pub url: BaseUrl,
    /// The ACL token, sent as `X-Consul-Token`. It needs `service:read` and `node:read`. Default: none. An agent with
    /// ACLs then returns an empty list, as if there were no instances.
    #[serde(default)]
    pub token: Option<Secret>,
    /// The datacenter (`dc`). Default: that of the agent.
    #[serde(default)]
    pub datacenter: Option<String>,
    /// The tags that an instance must have, all of them. Default: none.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The metadata key of the zone, in the service's metadata or else in the node's. Default `zone`.
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
    /// Checks the rules that the types do not express. A key that the kind does not use is an error, because it would
    /// have no effect.
    pub(super) fn check(&self) -> Result<(), String> {
        let only = |is_set: bool, key: &str, kinds: &[Kind]| {
            if !is_set || kinds.contains(&self.kind) {
                return Ok(());
            }
            Err(format!("{key}: not used by this kind"))
        };
        only(!self.endpoints.is_empty(), "endpoints", &[Kind::Static])?;
        only(
            self.nameserver.is_some(),
            "nameserver",
            &[Kind::Dns, Kind::Srv],
        )?;
        only(self.consul.is_some(), "consul", &[Kind::Consul])?;
        let with_name = [Kind::Dns, Kind::Srv, Kind::Consul];
        only(self.name.is_some(), "name", &with_name)?;
        self.static_endpoints()?;
        if self.min_interval.is_zero() || self.min_interval > self.max_interval {
            return Err("min_interval: must be above 0s and at most max_interval".to_owned());
        }
        if self.timeout.is_zero() {
            return Err("timeout: must be above 0s".to_owned());
        }
        Ok(())
    }

    /// The static list, parsed.
    pub(super) fn static_endpoints(&self) -> Result<Vec<Endpoint>, String> {
        let parse = |endpoint: &StaticEndpoint| {
            let address = parse_address(&endpoint.address).filter(|_| endpoint.weight > 0);
            let invalid = || {
                let address = &endpoint.address;
                format!("endpoints: {address:?} needs host:port and a weight of at least 1")
            };
            Ok(Endpoint {
                address: address.ok_or_else(invalid)?,
                weight: endpoint.weight,
                zone: endpoint.zone.clone(),
            })
        };
        self.endpoints.iter().map(parse).collect()
    }

    /// The name, for kinds without a default name.
    pub(super) fn required_name(&self) -> Result<&str, String> {
        self.name
            .as_deref()
            .ok_or_else(|| "name: required by this kind".to_owned())
    }

    /// The agent and the service name. The name is validated, because it becomes a path segment.
    pub(super) fn required_consul(&self) -> Result<(&Consul, &str), String> {
        let missing = "consul: required by this kind";
        let consul = self.consul.as_ref().ok_or(missing)?;
        let name = self.required_name()?;
        validate_id(name).map_err(|reason| format!("name: {reason}"))?;
        Ok((consul, name))
    }
}
