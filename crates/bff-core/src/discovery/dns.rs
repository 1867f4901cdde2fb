//! Instances out of DNS: addresses on one port, or services with their own.

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

use super::watcher::Answer;
use super::{Config, Endpoint, address, endpoint};
use crate::outbound::BaseUrl;

/// How many targets of SRV records are looked up at once.
const LOOKUPS: usize = 8;

/// One name, asked for again and again.
pub(super) struct Dns {
    resolver: TokioResolver,
    name: Name,
    /// The port of all addresses; none where the records hold it.
    port: Option<u16>,
    timeout: Duration,
}

/// Records of one type, and the shortest time that one of them holds for.
#[derive(Default)]
struct Found {
    records: Vec<Record>,
    /// What the server sent along unasked.
    besides: Vec<Record>,
    ttl: u32,
}

impl Dns {
    /// The addresses of a host, all on `port`.
    pub(super) fn addresses(config: &Config, url: &BaseUrl, port: u16) -> Result<Self, String> {
        let host = url.authority().host();
        Self::new(config, config.name.as_deref().unwrap_or(host), Some(port))
    }

    /// The services under a name.
    pub(super) fn services(config: &Config) -> Result<Self, String> {
        Self::new(config, config.required_name()?, None)
    }

    fn new(config: &Config, name: &str, port: Option<u16>) -> Result<Self, String> {
        if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(format!("name: {name:?} is an address, not a name"));
        }
        let mut name = Name::from_ascii(name)
            .map_err(|error| format!("name: {name:?} is no DNS name: {error}"))?;
        name.set_fqdn(true);
        Ok(Self {
            resolver: resolver(config).map_err(|e| {
                format!("nameserver: none is set, and the system's cannot be read: {e}")
            })?,
            name,
            port,
            timeout: config.timeout,
        })
    }

    /// What the name stands for now.
    pub(super) async fn ask(&self) -> Result<Answer, String> {
        let asked = timeout(self.timeout, async {
            match self.port {
                Some(port) => self.hosts(port).await,
                None => self.targets().await,
            }
        });
        let late = |_| format!("no answer for {} within {:?}", self.name, self.timeout);
        let (endpoints, ttl) = asked.await.map_err(late)??;
        Ok(Answer {
            endpoints,
            ttl: Some(Duration::from_secs(ttl.into())),
        })
    }

    async fn hosts(&self, port: u16) -> Result<(Vec<Endpoint>, u32), String> {
        let (found, ttl) = self.addresses_of(&self.name, &[]).await?;
        let hosts = found.iter().filter_map(|ip| address(&ip.to_string(), port));
        Ok((hosts.map(endpoint).collect(), ttl))
    }

    async fn targets(&self) -> Result<(Vec<Endpoint>, u32), String> {
        let found = self.look_up(&self.name, RecordType::SRV).await?;
        let mut by_priority = BTreeMap::<u16, Vec<&SRV>>::new();
        for record in &found.records {
            // A target of "." says that the service is decidedly not there (RFC 2782).
            if let RData::SRV(service) = &record.data
                && !service.target.is_root()
            {
                let same = by_priority.entry(service.priority).or_default();
                same.push(service);
            }
        }
        let mut shortest = found.ttl;
        for services in by_priority.values() {
            let asked = services.iter();
            let asked: Vec<_> = asked
                .map(|service| self.instances_of(service, &found.besides))
                .collect();
            let instances: Vec<_> = stream::iter(asked).buffered(LOOKUPS).try_collect().await?;
            let mut endpoints = Vec::new();
            for (some, ttl) in instances {
                endpoints.extend(some);
                shortest = shortest.min(ttl);
            }
            if !endpoints.is_empty() {
                return Ok((endpoints, shortest));
            }
        }
        Ok((Vec::new(), shortest))
    }

    async fn instances_of(
        &self,
        service: &SRV,
        besides: &[Record],
    ) -> Result<(Vec<Endpoint>, u32), String> {
        let (ips, ttl) = self.addresses_of(&service.target, besides).await?;
        let hosts = ips.iter();
        let hosts = hosts.filter_map(|ip| address(&ip.to_string(), service.port));
        let instance = |address| Endpoint {
            // RFC 2782 gives 0 a small chance, and 1 is the smallest here.
            weight: service.weight.max(1),
            ..endpoint(address)
        };
        Ok((hosts.map(instance).collect(), ttl))
    }

    /// The addresses of a host: those that came along with another answer, else A, else AAAA.
    async fn addresses_of(
        &self,
        host: &Name,
        besides: &[Record],
    ) -> Result<(Vec<IpAddr>, u32), String> {
        let mut shortest = u32::MAX;
        for kind in [RecordType::A, RecordType::AAAA] {
            let same = |record: &&Record| record.name == *host && record.record_type() == kind;
            let mut found = Found::of(besides.iter().filter(same).cloned().collect());
            if found.records.is_empty() {
                found = self.look_up(host, kind).await?;
            }
            shortest = shortest.min(found.ttl);
            let ips: Vec<_> = found
                .records
                .iter()
                .filter_map(|r| r.data.ip_addr())
                .collect();
            if !ips.is_empty() {
                return Ok((ips, found.ttl));
            }
        }
        Ok((Vec::new(), shortest))
    }

    /// One question. "No such name" and "no such record" are answers; everything else that is none is a failure.
    async fn look_up(&self, name: &Name, kind: RecordType) -> Result<Found, String> {
        match self.resolver.lookup(name.clone(), kind).await {
            Ok(lookup) => Ok(Found {
                besides: lookup.additionals().to_vec(),
                ..Found::of(lookup.answers().to_vec())
            }),
            Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords {
                response_code: ResponseCode::NXDomain | ResponseCode::NoError,
                negative_ttl,
                ..
            }))) => Ok(Found {
                ttl: negative_ttl.unwrap_or_default(),
                ..Found::default()
            }),
            Err(error) => Err(format!("{kind} of {name}: {error}")),
        }
    }
}

impl Found {
    fn of(records: Vec<Record>) -> Self {
        Self {
            ttl: records.iter().map(|r| r.ttl).min().unwrap_or_default(),
            records,
            besides: Vec::new(),
        }
    }
}

/// A resolver that keeps nothing: how long an answer holds is decided in one place, by the follower.
fn resolver(config: &Config) -> Result<TokioResolver, NetError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = match config.nameserver {
        Some(server) => {
            let mut known = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut known.connections {
                connection.port = server.port();
            }
            let only = ResolverConfig::from_name_servers(vec![known]);
            let mut options = ResolverOpts::default();
            options.use_hosts_file = ResolveHosts::Never;
            TokioResolver::builder_with_config(only, provider).with_options(options)
        }
        None => TokioResolver::builder_tokio()?,
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    // A lost packet is asked for once more within the timeout of the whole.
    options.attempts = 1;
    options.timeout = config.timeout / 2;
    builder.build()
}
