//! Service discovery with Consul's health endpoint, by blocking queries.
//!
//! A blocking query sends the last known index. Consul responds when the index changes or after `wait`. If the index
//! decreases, the client must reset it to 0, as Consul's documentation requires. Otherwise, after a restore of the
//! servers, queries would block until the old index is reached again.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use tokio::time::timeout;

use super::config::{self, Config};
use crate::call::Call;
use crate::clients::stream::InstanceClients;
use crate::clients::trust_roots::TrustRoots;
use crate::decode::{self, Decoded};
use crate::endpoints::endpoint::{Endpoint, Resolution, address};
use bff_context::context::Id;
use bff_context::scope::Public;
use bff_runtime::net::Net;

const INDEX: &str = "x-consul-index";
const TOKEN: &str = "x-consul-token";
/// The header that reports that the token's ACLs hide some results.
const FILTERED: &str = "x-consul-results-filtered-by-acls";
/// The maximum size of a response. An instance takes about 2 kB.
const MAX_BODY_BYTES: usize = 8 << 20;

/// Queries one service at one agent.
pub(super) struct ConsulWatcher {
    clients: InstanceClients,
    config: config::Consul,
    service: ServiceName,
    token: Option<HeaderValue>,
    /// The port of instances that registered no port.
    default_port: u16,
    wait: Duration,
    timeout: Duration,
    /// The index of the last response; 0 before the first one and after a failure.
    index: u64,
}

/// A validated service name.
struct ServiceName(String);

impl Id for ServiceName {
    fn as_path_segment(&self) -> &str {
        &self.0
    }
}

impl ConsulWatcher {
    /// Creates a client of the agent in `config`. `default_port` is for instances that registered no port.
    pub(super) fn new(config: &Config, default_port: u16, net: &Net) -> Result<Self, String> {
        let (consul, name) = config.required_consul()?;
        let token = consul.token.as_ref().map(|secret| {
            let mut value = HeaderValue::from_str(secret.expose())
                .map_err(|_| "consul.token: invalid character for a header".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let backend = crate::config::Config::at(consul.url.clone());
        Ok(Self {
            clients: InstanceClients::new(
                &backend,
                net,
                backend.url.authority(),
                &TrustRoots::PUBLIC,
            ),
            config: consul.clone(),
            service: ServiceName(name.to_owned()),
            token: token.transpose()?,
            default_port,
            wait: config.max_interval,
            timeout: config.timeout,
            index: 0,
        })
    }

    /// The instances. After the first response, the query blocks until they change or `wait` has passed.
    pub(super) async fn resolve(&mut self) -> Result<Resolution, String> {
        // A failed query leaves the index at 0, so that the next query does not block.
        let index = std::mem::take(&mut self.index);
        let request = self.build_request(index)?;
        // The agent extends `wait` by a random time of up to 1/16.
        let max_wait = if index > 0 {
            self.wait + self.wait / 16
        } else {
            Duration::ZERO
        };
        let limit = max_wait + self.timeout;
        let (head, body) = timeout(
            limit,
            self.clients.exchange_buffered(request, MAX_BODY_BYTES),
        )
        .await
        .map_err(|_| format!("no response within {limit:?}"))?
        .map_err(|failure| {
            let error = failure.error();
            error.cause().unwrap_or(error.detail()).to_owned()
        })?;
        if head.status != StatusCode::OK {
            return Err(format!("Consul responded with {}", head.status));
        }
        let Decoded {
            value: Entries(entries),
            omitted,
        } = decode::decode(&body).map_err(|error| error.to_string())?;
        if omitted > 0 {
            tracing::warn!(target: "discovery", omitted, "entries of Consul do not decode");
        }
        // An empty list would remove every instance.
        if entries.is_empty() && omitted > 0 {
            return Err("no entry of the response decodes".to_owned());
        }
        if entries.is_empty() && head.headers.get(FILTERED).is_some_and(|v| v == "true") {
            return Err("the token has no read access to this service and its nodes".to_owned());
        }
        let new_index = index_of(&head.headers);
        self.index = if new_index < index { 0 } else { new_index };
        let endpoints = entries.into_iter().filter_map(|entry| self.endpoint(entry));
        Ok(Resolution {
            endpoints: endpoints.collect(),
            ttl: None,
        })
    }

    fn build_request(&self, index: u64) -> Result<Request<Full<Bytes>>, String> {
        let mut call = Call::get(Public, "/v1/health/service/{name}")
            .path_id(&self.service)
            .query("passing", 1)
            .query_opt("dc", self.config.datacenter.as_ref());
        for tag in &self.config.tags {
            call = call.query("tag", tag);
        }
        if index > 0 {
            let wait = format_args!("{}ms", self.wait.as_millis()).to_string();
            call = call.query("index", index).query("wait", wait);
        }
        let target = self.config.url.origin_form(call.path());
        let mut request = Request::new(Full::default());
        *request.uri_mut() = target.map_err(|error| error.to_string())?.into();
        if let Some(token) = &self.token {
            request.headers_mut().insert(TOKEN, token.clone());
        }
        Ok(request)
    }

    /// The endpoint of an entry. `None` if its address is invalid.
    fn endpoint(&self, entry: Entry) -> Option<Endpoint> {
        let Entry { node, service } = entry;
        let host = if service.address.is_empty() {
            node.address
        } else {
            service.address
        };
        let port = if service.port == 0 {
            self.default_port
        } else {
            service.port
        };
        let zone = [service.meta, node.meta]
            .into_iter()
            .flatten()
            .find_map(|mut meta| meta.remove(&self.config.zone_key));
        Some(Endpoint {
            weight: service.weights.map_or(1, |weights| weights.passing.max(1)),
            zone,
            ..Endpoint::at(address(&host, port)?)
        })
    }
}

/// The index of a response; 0 if the header is missing or invalid.
fn index_of(headers: &HeaderMap) -> u64 {
    headers
        .get(INDEX)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or_default()
}

/// The health entries of a service. One invalid entry does not hide the others.
#[derive(Deserialize)]
struct Entries(#[serde(deserialize_with = "decode::omit_undecodable")] Vec<Entry>);

/// The part of a health entry that this module uses. Consul sends `null` for empty metadata.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    address: String,
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: u16,
    meta: Option<BTreeMap<String, String>>,
    weights: Option<Weights>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    /// From 1 to 65535 in Consul.
    passing: u16,
}
