//! Instances that die without a word, and such as come and go as Consul says.

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

use super::Row;
use super::backend::Backend;
use super::clients::{Crowd, Page, Told, failures};
use crate::args::Upstreams;
use crate::server::Server;
use crate::web::{self, Variant};
use crate::{Result, subprocess};

/// How many instances there are.
const INSTANCES: usize = 3;
/// Five failures in a row leave an instance out; each client may be under way to it then.
const ENOUGH: usize = 5 + CLIENTS;
const CLIENTS: usize = 8;
/// How long one goes on after it has left Consul, as one that drains does.
const DRAINS: Duration = Duration::from_secs(3);
/// How often one comes and another goes.
const ROUNDS: usize = 6;
/// How long an agent may take to answer.
const START: Duration = Duration::from_secs(30);

/// A file of configuration that goes with whoever holds it.
struct File(PathBuf);

impl File {
    fn write(name: &str, text: &str) -> Result<Self> {
        let name = format!("benches-{name}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text)?;
        Ok(Self(path))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// One of three dies under load: for how long is it still tried, and what does that cost?
pub(super) async fn dead(jwks: &str) -> Result<Vec<Row>> {
    let mut shop = Vec::new();
    for _ in 0..INSTANCES {
        shop.push(Backend::start(jwks).await?);
    }
    let endpoint = |b: &Backend| format!("{{ address = \"{}\" }}", b.at);
    let endpoints: Vec<String> = shop.iter().map(endpoint).collect();
    let endpoints = endpoints.join(", ");
    let text = format!("[upstreams.product.discovery]\nendpoints = [{endpoints}]\n");
    let file = File::write("dead", &text)?;
    let (_gateway, to) = start(&shop[0], &file).await?;
    let crowd = Crowd {
        clients: CLIENTS,
        pause: Duration::from_millis(10),
        time: Duration::from_secs(7),
    };
    let load = tokio::spawn(async move { crowd.ask(page(to)).await });
    sleep(Duration::from_secs(2)).await;
    let (died, victim) = (Instant::now(), &shop[1]);
    victim.die();
    let told = load.await??;
    let (tried, last) = victim.tried();
    let took = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(died));
    let after: Vec<Told> = told.into_iter().filter(|t| t.at + t.took >= died).collect();
    let failed = after.iter().filter(|t| !t.ok).count();
    Ok(vec![
        Row {
            what: "one of three instances dies: until it is no longer tried",
            is: format!("{tried} attempts, the last after {took:.0?}"),
            aim: "<= 13 attempts, five failures in a row and what 8 clients have under way then",
            met: (1..=ENOUGH).contains(&tried),
        },
        Row {
            what: "failed requests meanwhile, and in 5 s after",
            is: format!("{failed} of {} {}", after.len(), failures(&after)),
            aim: "0",
            met: failed == 0,
        },
    ])
}

/// Instances are added to Consul and taken out under load, each of them going away a little later.
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
    let file = File::write("rolling", &text)?;
    let (_gateway, to) = start(&shop[0], &file).await?;
    let crowd = Crowd {
        clients: 16,
        pause: Duration::from_millis(10),
        time: (DRAINS + Duration::from_secs(1)) * u32::try_from(ROUNDS)?,
    };
    let load = tokio::spawn(async move { crowd.ask(page(to)).await });
    let keys = shop[0].at;
    for round in 0..ROUNDS {
        let backend = Backend::start(jwks).await?;
        agent.add(INSTANCES + round, backend.at).await?;
        shop.push(backend);
        sleep(Duration::from_millis(500)).await;
        agent.remove(round).await?;
        sleep(DRAINS).await;
        let gone = shop.remove(0);
        // The first also publishes the issuer's keys, which nobody asks for here.
        debug_assert!(round > 0 || gone.at == keys);
    }
    let told = load.await??;
    let asked: Vec<usize> = shop.iter().map(Backend::calls).collect();
    let failed = told.iter().filter(|t| !t.ok).count();
    Ok(Row {
        what: "failed requests while six instances of three are replaced in Consul under load",
        is: format!(
            "{failed} of {} {}; the last three had {asked:?} calls",
            told.len(),
            failures(&told)
        ),
        aim: "0",
        met: failed == 0 && asked.iter().all(|calls| *calls > 0),
    })
}

fn page(to: SocketAddr) -> Page {
    Page {
        to,
        fields: "product",
        within: None,
    }
}

async fn start(any: &Backend, file: &File) -> Result<(Server, SocketAddr)> {
    let upstreams = Upstreams::at(&[any.at.port(); 3])?;
    let variant = Variant {
        file: Some(&file.0),
        ..Variant::default()
    };
    web::start_as(&upstreams, variant).await
}

/// An agent that is a cluster of its own, and forgets everything.
struct Agent {
    _running: Server,
    http: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

impl Agent {
    async fn start(program: &Path) -> Result<Self> {
        let always = "agent -dev -bind 127.0.0.1 -client 127.0.0.1 -dns-port -1 -grpc-port -1 -grpc-tls-port -1";
        let mut args: Vec<String> = always.split_whitespace().map(str::to_owned).collect();
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
        let until = Instant::now() + START;
        let ready = json!({"Name": "ready", "ID": "ready"});
        while agent.put("agent/service/register", &ready).await.is_err() {
            if Instant::now() > until {
                return Err(format!("consul was not there within {START:?}").into());
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
            Err(format!("consul answered {status} to {path}").into())
        }
    }
}
