//! A real agent: what is registered there is known here, soon.

use std::path::PathBuf;
use std::time::Duration;

use bff_core::config::Secret;
use bff_core::discovery::{Config, Consul, Kind};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::Followed;
use super::free_ports::free_base;
use crate::support::client;
use crate::support::service::{Service, find};

/// Within this a change is known, everywhere.
const SOON: Duration = Duration::from_secs(2);

/// An agent that is a cluster of its own.
pub(super) struct Agent {
    program: PathBuf,
    base: u16,
    http: Client,
    pub(super) url: String,
    token: Option<&'static str>,
    /// Where it keeps what it knows, if it does.
    data: Option<PathBuf>,
    running: Option<Service>,
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

    /// One that still knows after a restart what it knew before.
    pub(super) fn that_remembers() -> Option<Self> {
        let mut agent = Self::find(None)?;
        let name = format!("consul-{}-{}", std::process::id(), agent.base);
        agent.data = Some(std::env::temp_dir().join(name));
        Some(agent)
    }

    pub(super) fn start(&mut self) {
        let always = "agent -bind 127.0.0.1 -client 127.0.0.1 -node one -node-meta zone:z1 \
            -dns-port -1 -grpc-port -1 -grpc-tls-port -1";
        let mut args: Vec<String> = always.split_whitespace().map(str::to_owned).collect();
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
                let once = "-server -bootstrap-expect 1 -data-dir";
                args.extend(once.split_whitespace().map(str::to_owned));
                args.push(data.display().to_string());
            }
        }
        self.running = None;
        let running = Service::start(self.program.as_os_str(), &args, "Synced node info");
        self.running = Some(running);
    }

    /// Ends it as a machine ends.
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

    /// An instance whose check is critical until it is said to pass.
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
async fn what_passes_is_known_within_two_seconds_and_outlasts_the_agent() {
    let Some(mut agent) = Agent::find(None) else {
        return;
    };
    agent.start();
    let mut config = agent.config();
    // An agent that restarts between two questions lets the second, which names an index it is far from, block.
    config.max_interval = Duration::from_secs(2);
    let mut followed = Followed::new(&config);
    assert_eq!(followed.next().await, [""; 0]);
    agent
        .register("other", json!({"Tags": ["grpc"], "Check": null}))
        .await;
    agent.register("a", json!({})).await;
    agent.put("agent/check/pass/a", &json!({})).await;
    assert_eq!(followed.within(SOON).await, ["10.0.0.1:3001 1 z1"]);
    let b = json!({"Address": "10.0.0.2", "Meta": {"zone": "z2"}, "Weights": {"Passing": 5, "Warning": 1}});
    agent.register("b", b.clone()).await;
    agent.put("agent/check/pass/b", &json!({})).await;
    let both = ["10.0.0.1:3001 1 z1", "10.0.0.2:3001 5 z2"];
    assert_eq!(followed.within(SOON).await, both);
    agent.put("agent/check/fail/a", &json!({})).await;
    assert_eq!(followed.within(SOON).await, both[1..]);
    agent.put("agent/check/pass/a", &json!({})).await;
    assert_eq!(followed.within(SOON).await, both);
    agent.put("agent/service/deregister/a", &json!({})).await;
    assert_eq!(followed.within(SOON).await, both[1..]);
    // An agent of this mode forgets everything, its index too. While it is away nothing changes; then there is
    // nothing, by its own words; and what comes is known although the index is behind the one known before.
    agent.running = None;
    assert!(followed.given.try_recv().is_err());
    agent.start();
    assert_eq!(followed.next().await, [""; 0]);
    agent.register("b", b).await;
    agent.put("agent/check/pass/b", &json!({})).await;
    assert_eq!(followed.within(SOON).await, both[1..]);
}

#[tokio::test]
async fn an_acl_that_hides_everything_is_not_taken_for_nothing() {
    let Some(mut agent) = Agent::find(Some("5ec12e7a-0000-4000-8000-000000000000")) else {
        return;
    };
    agent.start();
    agent.register("a", json!({"Check": null})).await;
    let mut followed = Followed::new(&agent.config());
    assert_eq!(followed.next().await, ["10.0.0.1:3001 1 z1"]);
    // A token that may read nothing is told that something was left out; one that nobody made is refused.
    let powerless = "0b5c0000-0000-4000-8000-000000000000";
    agent
        .put("acl/token", &json!({"SecretID": powerless}))
        .await;
    for token in [powerless, "0b5c0000-0000-4000-8000-000000000001"] {
        let mut config = agent.config();
        config.start_timeout = Duration::from_millis(500);
        if let Some(consul) = &mut config.consul {
            consul.token = Some(Secret::new(token));
        }
        let mut hidden = Followed::new(&config);
        assert!(!hidden.following.initial().wait().await, "{token}");
        assert!(hidden.given.try_recv().is_err(), "{token}");
    }
}
