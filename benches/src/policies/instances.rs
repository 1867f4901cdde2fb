//! Instances that die, and instances that are replaced in Consul.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::backend::Backend;
use super::clients::{ClosedLoop, Page, RecordedResponse, failures};
use super::report::Row;
use crate::server::Server;
use crate::upstreams::Upstreams;
use crate::web::{self, Variant};
use crate::{Result, subprocess};

/// The number of instances.
const INSTANCES: usize = 3;
/// Outlier detection ejects an instance after five consecutive failures. Each client may have one more call in flight.
const MAX_ATTEMPTS: usize = 5 + CLIENTS;
const CLIENTS: usize = 8;
/// The time for which an instance serves after its deregistration from Consul, like a draining one.
const DRAIN_TIME: Duration = Duration::from_secs(3);
/// The number of replaced instances.
const ROUNDS: usize = 6;
/// The maximum start-up time of the Consul agent.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A configuration file. Dropping it deletes the file.
struct ConfigFile(PathBuf);

impl ConfigFile {
    fn write(name: &str, text: &str) -> Result<Self> {
        let name = format!("benches-{name}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text)?;
        Ok(Self(path))
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// One of three instances dies under load. Measures the attempts to call it and the failed requests.
pub(super) async fn dead(jwks: &str) -> Result<Vec<Row>> {
    let mut shop = Vec::new();
    for _ in 0..INSTANCES {
        shop.push(Backend::start(jwks).await?);
    }
    let endpoint = |b: &Backend| format!("{{ address = \"{}\" }}", b.at);
    let endpoints: Vec<String> = shop.iter().map(endpoint).collect();
    let endpoints = endpoints.join(", ");
    let text = format!("[upstreams.product.discovery]\nendpoints = [{endpoints}]\n");
    let file = ConfigFile::write("dead", &text)?;
    let (_gateway, to) = start(&shop[0], &file).await?;
    let closed_loop = ClosedLoop {
        clients: CLIENTS,
        pause: Duration::from_millis(10),
        time: Duration::from_secs(7),
    };
    let load = tokio::spawn(async move { closed_loop.run(page(to)).await });
    sleep(Duration::from_secs(2)).await;
    let (died, victim) = (Instant::now(), &shop[1]);
    victim.die();
    let responses = load.await??;
    let (attempts, last) = victim.attempts();
    let elapsed = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(died));
    let after: Vec<RecordedResponse> = responses
        .into_iter()
        .filter(|r| r.sent_at + r.latency >= died)
        .collect();
    let failed = after.iter().filter(|r| !r.ok).count();
    Ok(vec![
        Row {
            label: "one of three instances dies: attempts to call it",
            result: format!("{attempts} attempts, the last after {elapsed:.0?}"),
            target: "<= 13 attempts: five consecutive failures, and the calls of 8 clients in flight",
            met: (1..=MAX_ATTEMPTS).contains(&attempts),
        },
        Row {
            label: "failed requests in the 5 s after its death",
            result: format!("{failed} of {} {}", after.len(), failures(&after)),
            target: "0",
            met: failed == 0,
        },
    ])
}

/// Replaces instances in Consul under load. Each one stops some time after its deregistration.
pub(super) async fn rolling(jwks: &str, program: &Path) -> Result<Row> {
    let agent = Agent::start(program).await?;
    let mut shop = Vec::new();
    for n in 0..INSTANCES {
        let backend = Backend::start(jwks).await?;
        agent.add(n, backend.at).await?;
        shop.push(backend);
    }
    let url = &agent.url;
    let text = format!(
        "[upstreams.product.discovery]\nkind = \"consul\"\nname = \"product\"\nconsul = {{ url = \"{url}\" }}\n"
    );
    let file = ConfigFile::write("rolling", &text)?;
    let (_gateway, to) = start(&shop[0], &file).await?;
    let closed_loop = ClosedLoop {
        clients: 16,
        pause: Duration::from_millis(10),
        time: (DRAIN_TIME + Duration::from_secs(1)) * u32::try_from(ROUNDS)?,
    };
    let load = tokio::spawn(async move { closed_loop.run(page(to)).await });
    let issuer = shop[0].at;
    for round in 0..ROUNDS {
        let backend = Backend::start(jwks).await?;
        agent.add(INSTANCES + round, backend.at).await?;
        shop.push(backend);
        sleep(Duration::from_millis(500)).await;
        agent.remove(round).await?;
        sleep(DRAIN_TIME).await;
        let removed = shop.remove(0);
        // The first instance is also the issuer. Its JWKS is not fetched here.
        debug_assert!(round > 0 || removed.at == issuer);
    }
    let responses = load.await??;
    let calls: Vec<usize> = shop.iter().map(Backend::calls).collect();
    let failed = responses.iter().filter(|r| !r.ok).count();
    Ok(Row {
        label: "failed requests while six instances of three are replaced in Consul under load",
        result: format!(
            "{failed} of {} {}; the last three had {calls:?} calls",
            responses.len(),
            failures(&responses)
        ),
        target: "0",
        met: failed == 0 && calls.iter().all(|count| *count > 0),
    })
}

fn page(to: SocketAddr) -> Page {
    Page {
        to,
        fields: "product",
        request_timeout: None,
    }
}

async fn start(any: &Backend, file: &ConfigFile) -> Result<(Server, SocketAddr)> {
    let upstreams = Upstreams::at(&[any.at.port(); 3])?;
    let variant = Variant {
        file: Some(&file.0),
        ..Variant::default()
    };
    web::start_as(&upstreams, variant).await
}

/// A Consul agent in development mode: a cluster of one, in memory.
struct Agent {
    _running: Server,
    http: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

impl Agent {
    async fn start(program: &Path) -> Result<Self> {
        let fixed_args = "agent -dev -bind 127.0.0.1 -client 127.0.0.1 -dns-port -1 -grpc-port -1 -grpc-tls-port -1";
        let mut args: Vec<String> = fixed_args.split_whitespace().map(str::to_owned).collect();
        let mut bound = Vec::new();
        for name in ["http-port", "server-port", "serf-lan-port", "serf-wan-port"] {
            let listener = subprocess::bind().await?;
            let port = listener.local_addr()?.port().to_string();
            args.extend([format!("-{name}"), port]);
            bound.push(listener);
        }
        let url = format!("http://{}", bound[0].local_addr()?);
        drop(bound);
        let agent = Self {
            _running: Server::program(program, &args, &[])?,
            http: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            url,
        };
        let deadline = Instant::now() + START_TIMEOUT;
        let ready = json!({"Name": "ready", "ID": "ready"});
        while agent.put("agent/service/register", &ready).await.is_err() {
            if Instant::now() > deadline {
                return Err(format!("consul did not start within {START_TIMEOUT:?}").into());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(agent)
    }

    async fn add(&self, n: usize, at: SocketAddr) -> Result<()> {
        let service = json!({
            "ID": format!("product-{n}"), "Name": "product", "Address": "127.0.0.1", "Port": at.port(),
            "Check": {"TTL": "10m", "Status": "passing"},
        });
        self.put("agent/service/register", &service).await
    }

    async fn remove(&self, n: usize) -> Result<()> {
        let path = format!("agent/service/deregister/product-{n}");
        self.put(&path, &Value::Null).await
    }

    async fn put(&self, path: &str, body: &Value) -> Result<()> {
        let request = Request::put(format!("{}/v1/{path}", self.url));
        let request = request.body(Full::from(body.to_string()))?;
        let status = self.http.request(request).await?.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("consul responded {status} to {path}").into())
        }
    }
}
