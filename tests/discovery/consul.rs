//! Instances from a real Consul agent.

use std::path::PathBuf;
use std::time::Duration;

use bff_core::config::Secret;
use bff_core::discovery::{Config, Consul, Kind};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::WatchedBackend;
use crate::support::client;
use test_servers::free_base;
use test_servers::{Process, find};

/// An agent that forms a cluster of one.
pub(super) struct Agent {
    program: PathBuf,
    base: u16,
    http: Client,
    pub(super) url: String,
    token: Option<&'static str>,
    /// The data directory; `None` in development mode.
    data: Option<PathBuf>,
    running: Option<Process>,
}

impl Agent {
    fn find(token: Option<&'static str>) -> Option<Self> {
        let program = find("consul", "CONSUL_BIN")?;
        let base = free_base();
        Some(Self {
            program,
            base,
            http: client(),
            url: format!("http://127.0.0.1:{base}"),
            token,
            data: None,
            running: None,
        })
    }

    /// An agent whose data survives a restart.
    pub(super) fn find_persistent() -> Option<Self> {
        let mut agent = Self::find(None)?;
        let name = format!("consul-{}-{}", std::process::id(), agent.base);
        agent.data = Some(std::env::temp_dir().join(name));
        Some(agent)
    }

    pub(super) fn start(&mut self) {
        let fixed_args = "agent -bind 127.0.0.1 -client 127.0.0.1 -node one -node-meta zone:z1 \
            -dns-port -1 -grpc-port -1 -grpc-tls-port -1";
        let mut args: Vec<String> = fixed_args.split_whitespace().map(str::to_owned).collect();
        let ports = ["http-port", "server-port", "serf-lan-port", "serf-wan-port"];
        for (port, name) in (self.base..).zip(ports) {
            args.extend([format!("-{name}"), port.to_string()]);
        }
        if let Some(token) = self.token {
            let acl = format!(
                r#"acl {{ enabled = true default_policy = "deny" tokens {{ initial_management = "{token}" agent = "{token}" }} }}"#
            );
            args.extend(["-hcl".to_owned(), acl]);
        }
        match &self.data {
            None => args.push("-dev".to_owned()),
            Some(data) => {
                let persistent_args = "-server -bootstrap-expect 1 -data-dir";
                args.extend(persistent_args.split_whitespace().map(str::to_owned));
                args.push(data.display().to_string());
            }
        }
        self.running = None;
        let running = Process::start_server(&self.program, &args, "Synced node info");
        self.running = Some(running);
    }

    pub(super) fn kill(&mut self) {
        self.running = None;
    }

    pub(super) async fn put(&self, path: &str, body: &Value) {
        let mut request = self
            .http
            .request(Method::PUT, format!("{}/v1/{path}", self.url));
        if let Some(token) = self.token {
            request = request.header("x-consul-token", token);
        }
        let response = crate::support::send(request.json(body)).await;
        assert_eq!(response.status(), 200, "{path}");
    }

    /// Registers an instance. Its check is critical until a test sets it to passing.
    pub(super) async fn register(&self, id: &str, more: Value) {
        let mut service = json!({
            "ID": id, "Name": "alpha", "Address": "10.0.0.1", "Port": 3001, "Tags": ["http"],
            "Check": {"CheckID": id, "TTL": "60s"},
        });
        for (key, value) in more.as_object().unwrap() {
            service[key] = value.clone();
        }
        self.put("agent/service/register", &service).await;
    }

    fn config(&self) -> Config {
        Config {
            kind: Kind::Consul,
            name: Some("alpha".into()),
            consul: Some(Consul {
                url: self.url.parse().unwrap(),
                token: self.token.map(Secret::new),
                datacenter: Some("dc1".into()),
                tags: vec!["http".into()],
                zone_key: "zone".into(),
            }),
            ..Config::default()
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.running = None;
        if let Some(data) = &self.data {
            std::fs::remove_dir_all(data).ok();
        }
    }
}

#[tokio::test]
async fn passing_instances_are_used_and_survive_the_agent() {
    let Some(mut agent) = Agent::find(None) else {
        return;
    };
    agent.start();
    let mut config = agent.config();
    // After a restart, the agent's index is lower, so a blocking query may wait for the whole interval.
    config.max_interval = Duration::from_secs(2);
    let mut backend = WatchedBackend::new(&config);
    assert_eq!(backend.next().await, [""; 0]);
    agent
        .register("other", json!({"Tags": ["grpc"], "Check": null}))
        .await;
    agent.register("a", json!({})).await;
    agent.put("agent/check/pass/a", &json!({})).await;
    assert_eq!(backend.next().await, ["10.0.0.1:3001 1 z1"]);
    let b = json!({"Address": "10.0.0.2", "Meta": {"zone": "z2"}, "Weights": {"Passing": 5, "Warning": 1}});
    agent.register("b", b.clone()).await;
    agent.put("agent/check/pass/b", &json!({})).await;
    let both = ["10.0.0.1:3001 1 z1", "10.0.0.2:3001 5 z2"];
    assert_eq!(backend.next().await, both);
    agent.put("agent/check/fail/a", &json!({})).await;
    assert_eq!(backend.next().await, both[1..]);
    agent.put("agent/check/pass/a", &json!({})).await;
    assert_eq!(backend.next().await, both);
    agent.put("agent/service/deregister/a", &json!({})).await;
    assert_eq!(backend.next().await, both[1..]);
    // In development mode, a restart loses all data and resets the index. While the agent is down, nothing changes. Then
    // it reports no instances, and later updates arrive although the index is lower than before.
    agent.running = None;
    assert!(backend.updates.try_recv().is_err());
    agent.start();
    assert_eq!(backend.next().await, [""; 0]);
    agent.register("b", b).await;
    agent.put("agent/check/pass/b", &json!({})).await;
    assert_eq!(backend.next().await, both[1..]);
}

#[tokio::test]
async fn a_result_filtered_by_acls_is_an_error() {
    let Some(mut agent) = Agent::find(Some("5ec12e7a-0000-4000-8000-000000000000")) else {
        return;
    };
    agent.start();
    agent.register("a", json!({"Check": null})).await;
    let mut backend = WatchedBackend::new(&agent.config());
    assert_eq!(backend.next().await, ["10.0.0.1:3001 1 z1"]);
    // A token without privileges gets a filtered result; an unknown token is rejected.
    let unprivileged = "0b5c0000-0000-4000-8000-000000000000";
    agent
        .put("acl/token", &json!({"SecretID": unprivileged}))
        .await;
    for token in [unprivileged, "0b5c0000-0000-4000-8000-000000000001"] {
        let mut config = agent.config();
        config.start_timeout = Duration::from_millis(500);
        if let Some(consul) = &mut config.consul {
            consul.token = Some(Secret::new(token));
        }
        let mut backend = WatchedBackend::new(&config);
        assert!(!backend.handle.initial().wait().await, "{token}");
        assert!(backend.updates.try_recv().is_err(), "{token}");
    }
}
