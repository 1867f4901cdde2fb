//! Service discovery with DNS: A and AAAA records with a common port, or SRV records with their own ports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::time::timeout;

use super::config::Config;
use crate::base_url::BaseUrl;
use crate::endpoints::endpoint::{Endpoint, Resolution, address};

/// The maximum number of concurrent lookups of SRV targets.
const MAX_CONCURRENT_LOOKUPS: usize = 8;

/// Resolves one name.
pub(super) struct Dns {
    resolver: TokioResolver,
    name: Name,
    /// The port of all addresses; `None` for SRV records, which contain it.
    port: Option<u16>,
    timeout: Duration,
}

/// The result of one lookup.
#[derive(Default)]
struct RecordSet {
    records: Vec<Record>,
    /// The records of the additional section.
    additional: Vec<Record>,
    /// The shortest TTL of the records, in seconds.
    ttl: u32,
}

impl Dns {
    /// Resolves the addresses of a host, with a common port.
    pub(super) fn addresses(config: &Config, url: &BaseUrl, port: u16) -> Result<Self, String> {
        let host = url.authority().host();
        Self::new(config, config.name.as_deref().unwrap_or(host), Some(port))
    }

    /// Resolves the SRV records of a name.
    pub(super) fn services(config: &Config) -> Result<Self, String> {
        Self::new(config, config.required_name()?, None)
    }

    fn new(config: &Config, name: &str, port: Option<u16>) -> Result<Self, String> {
        if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(format!("name: {name:?} is an IP address, not a name"));
        }
        let mut name = Name::from_ascii(name)
            .map_err(|error| format!("name: {name:?} is not a valid DNS name: {error}"))?;
        name.set_fqdn(true);
        Ok(Self {
            resolver: build_resolver(config).map_err(|e| {
                format!("nameserver: not set, and the system's configuration is unreadable: {e}")
            })?,
            name,
            port,
            timeout: config.timeout,
        })
    }

    /// The current instances of the name.
    pub(super) async fn resolve(&self) -> Result<Resolution, String> {
        let lookup = timeout(self.timeout, async {
            match self.port {
                Some(port) => self.resolve_addresses(port).await,
                None => self.resolve_services().await,
            }
        });
        let timed_out = |_| format!("no response for {} within {:?}", self.name, self.timeout);
        let (endpoints, ttl) = lookup.await.map_err(timed_out)??;
        Ok(Resolution {
            endpoints,
            ttl: Some(Duration::from_secs(ttl.into())),
        })
    }

    async fn resolve_addresses(&self, port: u16) -> Result<(Vec<Endpoint>, u32), String> {
        let (ips, ttl) = self.addresses_of(&self.name, &[]).await?;
        let addresses = ips.iter().filter_map(|ip| address(&ip.to_string(), port));
        Ok((addresses.map(Endpoint::at).collect(), ttl))
    }

    async fn resolve_services(&self) -> Result<(Vec<Endpoint>, u32), String> {
        let services = self.look_up(&self.name, RecordType::SRV).await?;
        let mut by_priority = BTreeMap::<u16, Vec<&SRV>>::new();
        for record in &services.records {
            // The target "." means that the service is not available (RFC 2782).
            if let RData::SRV(service) = &record.data
                && !service.target.is_root()
            {
                let same_priority = by_priority.entry(service.priority).or_default();
                same_priority.push(service);
            }
        }
        let mut min_ttl = services.ttl;
        for same_priority in by_priority.values() {
            let lookups: Vec<_> = same_priority
                .iter()
                .map(|service| self.endpoints_of(service, &services.additional))
                .collect();
            let results: Vec<_> = stream::iter(lookups)
                .buffered(MAX_CONCURRENT_LOOKUPS)
                .try_collect()
                .await?;
            let mut endpoints = Vec::new();
            for (some, ttl) in results {
                endpoints.extend(some);
                min_ttl = min_ttl.min(ttl);
            }
            if !endpoints.is_empty() {
                return Ok((endpoints, min_ttl));
            }
        }
        Ok((Vec::new(), min_ttl))
    }

    async fn endpoints_of(
        &self,
        service: &SRV,
        additional: &[Record],
    ) -> Result<(Vec<Endpoint>, u32), String> {
        let (ips, ttl) = self.addresses_of(&service.target, additional).await?;
        let addresses = ips.iter();
        let addresses = addresses.filter_map(|ip| address(&ip.to_string(), service.port));
        let endpoint = |address| Endpoint {
            // RFC 2782 gives weight 0 a small share of the traffic; 1 is the smallest weight here.
            weight: service.weight.max(1),
            ..Endpoint::at(address)
        };
        Ok((addresses.map(endpoint).collect(), ttl))
    }

    /// The addresses of a host: from the additional records, else from A records, else from AAAA records.
    async fn addresses_of(
        &self,
        host: &Name,
        additional: &[Record],
    ) -> Result<(Vec<IpAddr>, u32), String> {
        let mut min_ttl = u32::MAX;
        for kind in [RecordType::A, RecordType::AAAA] {
            let matches = |record: &&Record| record.name == *host && record.record_type() == kind;
            let mut set = RecordSet::new(additional.iter().filter(matches).cloned().collect());
            if set.records.is_empty() {
                set = self.look_up(host, kind).await?;
            }
            min_ttl = min_ttl.min(set.ttl);
            let ips: Vec<_> = set
                .records
                .iter()
                .filter_map(|r| r.data.ip_addr())
                .collect();
            if !ips.is_empty() {
                return Ok((ips, set.ttl));
            }
        }
        Ok((Vec::new(), min_ttl))
    }

    /// Makes one query. NXDOMAIN and "no such record" are valid, empty results; other errors are failures.
    async fn look_up(&self, name: &Name, kind: RecordType) -> Result<RecordSet, String> {
        match self.resolver.lookup(name.clone(), kind).await {
            Ok(lookup) => Ok(RecordSet {
                additional: lookup.additionals().to_vec(),
                ..RecordSet::new(lookup.answers().to_vec())
            }),
            Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords {
                response_code: ResponseCode::NXDomain | ResponseCode::NoError,
                negative_ttl,
                ..
            }))) => Ok(RecordSet {
                ttl: negative_ttl.unwrap_or_default(),
                ..RecordSet::default()
            }),
            Err(error) => Err(format!("{kind} of {name}: {error}")),
        }
    }
}

impl RecordSet {
    fn new(records: Vec<Record>) -> Self {
        Self {
            ttl: records.iter().map(|r| r.ttl).min().unwrap_or_default(),
            records,
            additional: Vec::new(),
        }
    }
}

/// Creates a resolver without a cache, because the poll schedule already applies the TTL.
fn build_resolver(config: &Config) -> Result<TokioResolver, NetError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = match config.nameserver {
        Some(server) => {
            let mut name_server = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut name_server.connections {
                connection.port = server.port();
            }
            let resolver_config = ResolverConfig::from_name_servers(vec![name_server]);
            let mut options = ResolverOpts::default();
            options.use_hosts_file = ResolveHosts::Never;
            TokioResolver::builder_with_config(resolver_config, provider).with_options(options)
        }
        None => TokioResolver::builder_tokio()?,
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    // One retry after a lost packet, within the timeout of the whole query.
    options.attempts = 1;
    options.timeout = config.timeout / 2;
    builder.build()
}
