//! Instances out of Consul's health endpoint, by blocking queries.
//!
//! A blocking query names the index of what is known already, and is answered when that changes or `wait` is over.
//! An index that goes backwards is forgotten, as Consul's documentation demands: the servers were restored, and
//! would otherwise say nothing until they get as far again.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use tokio::time::timeout;

use super::watcher::Answer;
use super::{Config, Endpoint, address, config, endpoint};
use crate::net::Net;
use crate::outbound::{self, Call, Client, Id, TrustRoots};
use crate::scope::Public;

const INDEX: &str = "x-consul-index";
const TOKEN: &str = "x-consul-token";
/// Says that the token may not see everything that there is.
const FILTERED: &str = "x-consul-results-filtered-by-acls";
/// The largest answer read. An instance takes about 2 kB.
const MAX_BODY_BYTES: usize = 8 << 20;

/// One service at one agent, asked for again and again.
pub(super) struct ConsulWatcher {
    client: Client,
    config: config::Consul,
    service: Service,
    token: Option<HeaderValue>,
    /// The port of instances that have registered none.
    port: u16,
    wait: Duration,
    timeout: Duration,
    /// What is known already; 0 when nothing is.
    index: u64,
}

/// A service's name, checked.
struct Service(String);

impl Id for Service {
    fn as_path_segment(&self) -> &str {
        &self.0
    }
}

impl ConsulWatcher {
    /// The agent of `config`, over `net`; `port` is that of instances that have registered none.
    pub(super) fn new(config: &Config, port: u16, net: &Net) -> Result<Self, String> {
        let (consul, name) = config.required_consul()?;
        let token = consul.token.as_ref().map(|secret| {
            let mut value = HeaderValue::from_str(secret.expose())
                .map_err(|_| "consul.token: it holds what no header may".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let backend = outbound::Config::at(consul.url.clone());
        Ok(Self {
            client: Client::new(&backend, net, backend.url.authority(), &TrustRoots::PUBLIC),
            config: consul.clone(),
            service: Service(name.to_owned()),
            token: token.transpose()?,
            port,
            wait: config.max_interval,
            timeout: config.timeout,
            index: 0,
        })
    }

    /// The instances, as soon as they are others than at the last answer.
    pub(super) async fn ask(&mut self) -> Result<Answer, String> {
        // After a failure, one by a timeout included, nothing is known: the next question is answered at once.
        let known = std::mem::take(&mut self.index);
        let request = self.request(known)?;
        // An agent adds up to a sixteenth to the wait, so that its clients spread out.
        let blocked = if known > 0 {
            self.wait + self.wait / 16
        } else {
            Duration::ZERO
        };
        let bound = blocked + self.timeout;
        let (head, body) = timeout(bound, self.client.exchange(request, MAX_BODY_BYTES))
            .await
            .map_err(|_| format!("no answer within {bound:?}"))?
            .map_err(|failure| {
                let error = failure.error();
                error.cause().unwrap_or(error.detail()).to_owned()
            })?;
        if head.status != StatusCode::OK {
            return Err(format!("it answered {}", head.status));
        }
        let entries: Vec<Entry> = serde_json::from_slice(&body)
            .map_err(|error| format!("the body does not decode: {error}"))?;
        if entries.is_empty() && head.headers.get(FILTERED).is_some_and(|v| v == "true") {
            return Err("the token may not read this service and its nodes".to_owned());
        }
        let index = index(&head.headers);
        self.index = if index < known { 0 } else { index };
        let instances = entries.into_iter().filter_map(|entry| self.instance(entry));
        Ok(Answer {
            endpoints: instances.collect(),
            ttl: None,
        })
    }

    fn request(&self, known: u64) -> Result<Request<Full<Bytes>>, String> {
        let mut call = Call::get(Public, "/v1/health/service/{name}")
            .path_id(&self.service)
            .query("passing", 1)
            .query_opt("dc", self.config.datacenter.as_ref());
        for tag in &self.config.tags {
            call = call.query("tag", tag);
        }
        if known > 0 {
            let wait = format_args!("{}ms", self.wait.as_millis()).to_string();
            call = call.query("index", known).query("wait", wait);
        }
        let target = self.config.url.origin_form(call.path());
        let mut request = Request::new(Full::default());
        *request.uri_mut() = target.map_err(|error| error.to_string())?.into();
        if let Some(token) = &self.token {
            request.headers_mut().insert(TOKEN, token.clone());
        }
        Ok(request)
    }

    /// The instance of an entry, unless its address is none.
    fn instance(&self, entry: Entry) -> Option<Endpoint> {
        let Entry { node, service } = entry;
        let host = if service.address.is_empty() {
            node.address
        } else {
            service.address
        };
        let port = if service.port == 0 {
            self.port
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
            ..endpoint(address(&host, port)?)
        })
    }
}

/// The index of an answer; 0, which is none, when it is missing.
fn index(headers: &HeaderMap) -> u64 {
    headers
        .get(INDEX)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or_default()
}

/// What of an entry is read. Consul writes `null` for metadata that is empty.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Instance,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    address: String,
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
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
    /// Consul allows 1 to 65535.
    passing: u16,
}
