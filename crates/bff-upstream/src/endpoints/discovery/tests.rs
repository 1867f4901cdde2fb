//! Watches of a scripted Consul agent, on a real socket and on the in-memory network with a paused clock.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::*;
use agent::{FakeAgent, Reply, instance};
use bff_config::Secret;
use bff_runtime::net::InMemoryNetwork;

mod agent;
mod log;
mod settings;

fn url() -> BaseUrl {
    "http://alpha.internal:3005".parse().unwrap()
}

fn at(address: &str) -> Endpoint {
    Endpoint::at(address.parse().unwrap())
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A configuration with a short minimum interval.
fn consul(agent: &str) -> Config {
    Config {
        kind: Kind::Consul,
        name: Some("alpha".into()),
        consul: Some(Consul {
            url: agent.parse().unwrap(),
            token: None,
            datacenter: None,
            tags: Vec::new(),
            zone_key: "zone".into(),
        }),
        min_interval: millis(5),
        ..Config::default()
    }
}

/// A watch with its reported changes.
struct Watched {
    handle: WatchHandle,
    changes: mpsc::UnboundedReceiver<Vec<Endpoint>>,
}

impl Watched {
    fn new(config: &Config, env: &Env) -> Self {
        let (sender, changes) = mpsc::unbounded_channel();
        let on_change = move |endpoints: &[Endpoint]| sender.send(endpoints.to_vec()).unwrap();
        let handle = watch("alpha", &url(), config, env, on_change).unwrap();
        Self { handle, changes }
    }

    async fn next(&mut self) -> Vec<Endpoint> {
        with_timeout(self.changes.recv()).await.unwrap()
    }

    async fn addresses(&mut self) -> Vec<String> {
        let endpoints = self.next().await;
        endpoints.iter().map(|e| e.address.to_string()).collect()
    }
}

/// Ends a test that would otherwise hang.
async fn with_timeout<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), work).await.unwrap()
}

#[tokio::test]
async fn health_entries_become_endpoints() {
    let mut agent = FakeAgent::start().await;
    let mut config = consul(&agent.url);
    let consul = config.consul.as_mut().unwrap();
    consul.token = Some(Secret::new("s3cret"));
    consul.datacenter = Some("eu".into());
    consul.tags = vec!["v2".into(), "a b".into()];
    let mut watched = Watched::new(&config, &Env::real());
    let node = |service: Value| json!({"Node": {"Address": "10.0.0.9", "Meta": {"zone": "n"}}, "Service": service});
    let body = json!([
        node(json!({"Address": "", "Port": 80, "Meta": null, "Weights": {"Passing": 7, "Warning": 1}})),
        node(json!({"Address": "10.0.0.2", "Port": 80, "Meta": {"zone": "s"}, "Unknown": 1})),
        node(json!({"Address": "::1", "Port": 0, "Weights": {"Passing": 0}})),
        node(json!({"Address": "b.internal", "Port": 81})),
        node(json!({"Address": "not an address", "Port": 81})),
        {"Node": {"Address": "10.0.0.1", "Meta": null}, "Service": {"Port": 82}},
    ]);
    agent.reply(Reply::ok(9, body));
    let instance = |address: &str, weight, zone: Option<&str>| Endpoint {
        address: address.parse().unwrap(),
        weight,
        zone: zone.map(Into::into),
    };
    let expected = vec![
        instance("10.0.0.1:82", 1, None),
        instance("10.0.0.2:80", 1, Some("s")),
        instance("10.0.0.9:80", 7, Some("n")),
        instance("[::1]:3005", 1, Some("n")),
        instance("b.internal:81", 1, Some("n")),
    ];
    assert_eq!(watched.next().await, expected);
    let first = agent.next_query().await;
    let path = "/v1/health/service/alpha?passing=1&dc=eu&tag=v2&tag=a%20b";
    assert_eq!(
        (first.target.as_str(), first.token.as_deref()),
        (path, Some("s3cret"))
    );
    let second = agent.next_query().await;
    assert_eq!(second.target, format!("{path}&index=9&wait=60000ms"));
    assert_eq!(second.token.as_deref(), Some("s3cret"));
}

#[tokio::test]
async fn only_changes_are_reported() {
    let mut agent = FakeAgent::start().await;
    let mut watched = Watched::new(&consul(&agent.url), &Env::real());
    let [a, b] = [instance("10.0.0.1", 1), instance("10.0.0.2", 1)];
    agent.reply(Reply::ok(1, json!([a])));
    agent.reply(Reply::ok(2, json!([a])));
    agent.reply(Reply::ok(3, json!([b, a])));
    agent.reply(Reply::ok(4, json!([a, b])));
    agent.reply(Reply::ok(5, json!([])));
    agent.reply(Reply::ok(6, json!([b])));
    assert_eq!(watched.addresses().await, ["10.0.0.1:1"]);
    assert_eq!(watched.addresses().await, ["10.0.0.1:1", "10.0.0.2:1"]);
    assert_eq!(watched.addresses().await, [""; 0]);
    assert_eq!(watched.addresses().await, ["10.0.0.2:1"]);
    let mut indices = Vec::new();
    for _ in 0..7 {
        indices.push(agent.next_query().await.index());
    }
    assert_eq!(
        indices,
        [None, Some(1), Some(2), Some(3), Some(4), Some(5), Some(6)]
    );
}

#[tokio::test]
async fn a_decreasing_index_is_reset() {
    let mut agent = FakeAgent::start().await;
    let mut watched = Watched::new(&consul(&agent.url), &Env::real());
    agent.reply(Reply::ok(10, json!([instance("10.0.0.1", 1)])));
    agent.reply(Reply::ok(4, json!([instance("10.0.0.2", 1)])));
    agent.reply(Reply::ok(4, json!([instance("10.0.0.3", 1)])));
    agent.reply(Reply::without_index(json!([instance("10.0.0.4", 1)])));
    for last in 1..=4 {
        assert_eq!(watched.addresses().await, [format!("10.0.0.{last}:1")]);
    }
    for expected in [None, Some(10), None, Some(4), None] {
        assert_eq!(agent.next_query().await.index(), expected);
    }
}

#[tokio::test]
async fn failures_of_the_agent_remove_no_instance() {
    let mut agent = FakeAgent::start().await;
    let mut watched = Watched::new(&consul(&agent.url), &Env::real());
    agent.reply(Reply::ok(7, json!([instance("10.0.0.1", 1)])));
    agent.reply(Reply::status(500));
    agent.reply(Reply::status(404));
    agent.reply(Reply::ok(8, json!({"not": "a list"})));
    agent.reply(Reply::ok(8, json!([])).filtered());
    agent.reply(Reply::ok(8, json!([instance("10.0.0.1", 1)])));
    agent.reply(Reply::ok(9, json!([instance("10.0.0.2", 1)])));
    assert_eq!(watched.addresses().await, ["10.0.0.1:1"]);
    assert_eq!(watched.addresses().await, ["10.0.0.2:1"]);
    // The query after a failure has no index, so it does not block.
    for expected in [None, Some(7), None, None, None, None, Some(8), Some(9)] {
        assert_eq!(agent.next_query().await.index(), expected);
    }
}

#[tokio::test]
async fn an_invalid_entry_hides_no_other_instance() {
    let agent = FakeAgent::start().await;
    let mut watched = Watched::new(&consul(&agent.url), &Env::real());
    let invalid = json!({"Node": {"Address": 7}, "Service": {"Port": 70_000}});
    agent.reply(Reply::ok(1, json!([invalid, instance("10.0.0.1", 1)])));
    // If no entry decodes, the instances stay.
    agent.reply(Reply::ok(2, json!([invalid])));
    agent.reply(Reply::ok(3, json!([instance("10.0.0.2", 1), invalid])));
    assert_eq!(watched.addresses().await, ["10.0.0.1:1"]);
    assert_eq!(watched.addresses().await, ["10.0.0.2:1"]);
}

#[tokio::test]
async fn a_query_to_a_hanging_agent_times_out() {
    let mut agent = FakeAgent::start().await;
    let mut config = consul(&agent.url);
    (config.timeout, config.max_interval) = (millis(40), millis(160));
    let mut watched = Watched::new(&config, &Env::real());
    agent.reply(Reply::ok(7, json!([instance("10.0.0.1", 1)])));
    assert_eq!(watched.addresses().await, ["10.0.0.1:1"]);
    assert_eq!(agent.next_query().await.index(), None);
    let blocking = agent.next_query().await;
    assert_eq!(blocking.index(), Some(7));
    let next = agent.next_query().await;
    assert_eq!(next.index(), None);
    assert!(next.at - blocking.at >= millis(160 + 10 + 40));
}

#[tokio::test]
async fn start_up_waits_for_the_first_result_until_start_timeout() {
    let agent = FakeAgent::start().await;
    let mut config = consul(&agent.url);
    let mut watched = Watched::new(&config, &Env::real());
    agent.reply(Reply::ok(1, json!([])));
    assert!(watched.handle.initial().wait().await);
    assert!(watched.next().await.is_empty());
    config.start_timeout = millis(30);
    let silent = Watched::new(&config, &Env::real());
    assert!(!with_timeout(silent.handle.initial().wait()).await);
}

#[tokio::test]
async fn dropping_the_handle_ends_the_watch() {
    let mut agent = FakeAgent::start().await;
    let mut watched = Watched::new(&consul(&agent.url), &Env::real());
    agent.next_query().await;
    drop(watched.handle);
    assert_eq!(
        with_timeout(watched.changes.recv()).await,
        None,
        "the callback is dropped"
    );
}

/// The network records and refuses every connection; the clock is paused.
#[tokio::test(start_paused = true)]
async fn queries_to_an_unreachable_agent_back_off() {
    let (sender, mut connections) = mpsc::unbounded_channel();
    let network = InMemoryNetwork::new(move |_, _, _| {
        sender.send(Instant::now()).unwrap();
        Err(std::io::ErrorKind::ConnectionRefused.into())
    });
    let _listener = network.listen("agent:8500");
    let env = Env::seeded(1, Net::InMemory(network));
    let config = Config {
        min_interval: Duration::from_secs(1),
        ..consul("http://agent:8500")
    };
    let _followed = Watched::new(&config, &env);
    let mut previous = connections.recv().await.unwrap();
    for max in [1, 2, 4, 8, 16, 32, 60, 60, 60].map(Duration::from_secs) {
        let at = connections.recv().await.unwrap();
        let delay = at - previous;
        // Timers have a resolution of one millisecond.
        assert!(
            max / 2 <= delay && delay <= max + millis(1),
            "{delay:?} of {max:?}"
        );
        previous = at;
    }
}

#[tokio::test(start_paused = true)]
async fn on_the_in_memory_network_consul_is_queried_and_dns_is_not() {
    let network = InMemoryNetwork::new(|_, _, pipe| {
        Ok(bff_runtime::net::Connection::InMemory(Box::new(pipe)))
    });
    let mut agent = FakeAgent::on(network.listen("agent:8500"), "http://agent:8500");
    let env = Env::seeded(1, Net::InMemory(network));
    let mut watched = Watched::new(&consul("http://agent:8500"), &env);
    agent.reply(Reply::ok(1, json!([instance("alpha-1", 80)])));
    assert_eq!(watched.addresses().await, ["alpha-1:80"]);
    assert_eq!(agent.next_query().await.index(), None);
    for kind in [Kind::Dns, Kind::Srv] {
        let config = Config {
            kind,
            name: Some("_http._tcp.alpha.internal".into()),
            ..Config::default()
        };
        let mut watched = Watched::new(&config, &env);
        assert_eq!(watched.addresses().await, ["alpha.internal:3005"]);
    }
}

#[tokio::test]
async fn a_static_list_is_reported_at_once() {
    let mut config = Config::default();
    let mut watched = Watched::new(&config, &Env::real());
    let endpoints = watched.changes.try_recv().unwrap();
    assert_eq!(endpoints, [at("alpha.internal:3005")]);
    assert!(watched.handle.initial().wait().await);
    let static_endpoint = |address: &str| StaticEndpoint {
        address: address.into(),
        weight: 1,
        zone: None,
    };
    config.endpoints = ["b:1", "a:1", "b:1"].map(static_endpoint).to_vec();
    let mut watched = Watched::new(&config, &Env::real());
    assert_eq!(watched.changes.try_recv().unwrap(), ["a:1", "b:1"].map(at));
    for (url, port) in [
        ("http://a", 80),
        ("https://a", 443),
        ("https://[::1]:1/x", 1),
    ] {
        assert_eq!(port_of(&url.parse().unwrap()), port, "{url}");
    }
}
