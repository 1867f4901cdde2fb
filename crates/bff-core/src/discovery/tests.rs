//! What becomes of a source's answers: a scripted Consul agent on a real socket, and on pipes with a paused clock.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::*;
use crate::config::Secret;
use crate::net::InMemoryNetwork;
use agent::{FakeAgent, Reply, instance};

mod agent;
mod log;
mod settings;

fn url() -> BaseUrl {
    "http://alpha.internal:3005".parse().unwrap()
}

fn at(address: &str) -> Endpoint {
    endpoint(address.parse().unwrap())
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Questions follow one another quickly, and hang as long as they may.
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

/// A backend being followed, and what was given on.
struct Followed {
    following: WatchHandle,
    given: mpsc::UnboundedReceiver<Vec<Endpoint>>,
}

impl Followed {
    fn new(config: &Config, world: &Env) -> Self {
        let (give, given) = mpsc::unbounded_channel();
        let give = move |found: &[Endpoint]| give.send(found.to_vec()).unwrap();
        let following = watch("alpha", &url(), config, world, give).unwrap();
        Self { following, given }
    }

    async fn next(&mut self) -> Vec<Endpoint> {
        soon(self.given.recv()).await.unwrap()
    }

    async fn addresses(&mut self) -> Vec<String> {
        let endpoints = self.next().await;
        endpoints.iter().map(|e| e.address.to_string()).collect()
    }
}

/// Bounds a test that has failed.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), work).await.unwrap()
}

#[tokio::test]
async fn an_entry_becomes_an_instance() {
    let mut agent = FakeAgent::start().await;
    let mut config = consul(&agent.url);
    let asked = config.consul.as_mut().unwrap();
    asked.token = Some(Secret::new("s3cret"));
    asked.datacenter = Some("eu".into());
    asked.tags = vec!["v2".into(), "a b".into()];
    let mut followed = Followed::new(&config, &Env::real());
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
    assert_eq!(followed.next().await, expected);
    let first = agent.asked().await;
    let path = "/v1/health/service/alpha?passing=1&dc=eu&tag=v2&tag=a%20b";
    assert_eq!(
        (first.target.as_str(), first.token.as_deref()),
        (path, Some("s3cret"))
    );
    let second = agent.asked().await;
    assert_eq!(second.target, format!("{path}&index=9&wait=60000ms"));
    assert_eq!(second.token.as_deref(), Some("s3cret"));
}

#[tokio::test]
async fn instances_come_and_go_and_only_changes_are_given() {
    let mut agent = FakeAgent::start().await;
    let mut followed = Followed::new(&consul(&agent.url), &Env::real());
    let [a, b] = [instance("10.0.0.1", 1), instance("10.0.0.2", 1)];
    agent.reply(Reply::ok(1, json!([a])));
    agent.reply(Reply::ok(2, json!([a])));
    agent.reply(Reply::ok(3, json!([b, a])));
    agent.reply(Reply::ok(4, json!([a, b])));
    agent.reply(Reply::ok(5, json!([])));
    agent.reply(Reply::ok(6, json!([b])));
    assert_eq!(followed.addresses().await, ["10.0.0.1:1"]);
    assert_eq!(followed.addresses().await, ["10.0.0.1:1", "10.0.0.2:1"]);
    assert_eq!(followed.addresses().await, [""; 0]);
    assert_eq!(followed.addresses().await, ["10.0.0.2:1"]);
    let mut indices = Vec::new();
    for _ in 0..7 {
        indices.push(agent.asked().await.index());
    }
    assert_eq!(
        indices,
        [None, Some(1), Some(2), Some(3), Some(4), Some(5), Some(6)]
    );
}

#[tokio::test]
async fn an_index_that_goes_backwards_is_forgotten() {
    let mut agent = FakeAgent::start().await;
    let mut followed = Followed::new(&consul(&agent.url), &Env::real());
    agent.reply(Reply::ok(10, json!([instance("10.0.0.1", 1)])));
    agent.reply(Reply::ok(4, json!([instance("10.0.0.2", 1)])));
    agent.reply(Reply::ok(4, json!([instance("10.0.0.3", 1)])));
    agent.reply(Reply::without_index(json!([instance("10.0.0.4", 1)])));
    for last in 1..=4 {
        assert_eq!(followed.addresses().await, [format!("10.0.0.{last}:1")]);
    }
    for expected in [None, Some(10), None, Some(4), None] {
        assert_eq!(agent.asked().await.index(), expected);
    }
}

#[tokio::test]
async fn a_failing_agent_takes_no_instance_away() {
    let mut agent = FakeAgent::start().await;
    let mut followed = Followed::new(&consul(&agent.url), &Env::real());
    agent.reply(Reply::ok(7, json!([instance("10.0.0.1", 1)])));
    agent.reply(Reply::status(500));
    agent.reply(Reply::status(404));
    agent.reply(Reply::ok(8, json!({"not": "a list"})));
    agent.reply(Reply::ok(8, json!([])).filtered());
    agent.reply(Reply::ok(8, json!([instance("10.0.0.1", 1)])));
    agent.reply(Reply::ok(9, json!([instance("10.0.0.2", 1)])));
    assert_eq!(followed.addresses().await, ["10.0.0.1:1"]);
    assert_eq!(followed.addresses().await, ["10.0.0.2:1"]);
    // After a failure the question is one that is answered at once.
    for expected in [None, Some(7), None, None, None, None, Some(8), Some(9)] {
        assert_eq!(agent.asked().await.index(), expected);
    }
}

#[tokio::test]
async fn an_agent_that_hangs_is_given_up() {
    let mut agent = FakeAgent::start().await;
    let mut config = consul(&agent.url);
    (config.timeout, config.max_interval) = (millis(40), millis(160));
    let mut followed = Followed::new(&config, &Env::real());
    agent.reply(Reply::ok(7, json!([instance("10.0.0.1", 1)])));
    assert_eq!(followed.addresses().await, ["10.0.0.1:1"]);
    assert_eq!(agent.asked().await.index(), None);
    let blocking = agent.asked().await;
    assert_eq!(blocking.index(), Some(7));
    let next = agent.asked().await;
    assert_eq!(next.index(), None);
    assert!(next.at - blocking.at >= millis(160 + 10 + 40));
}

#[tokio::test]
async fn start_up_waits_for_the_first_answer_and_no_longer_than_it_may() {
    let agent = FakeAgent::start().await;
    let mut config = consul(&agent.url);
    let mut followed = Followed::new(&config, &Env::real());
    agent.reply(Reply::ok(1, json!([])));
    assert!(followed.following.first().wait().await);
    assert!(followed.next().await.is_empty());
    config.start_timeout = millis(30);
    let silent = Followed::new(&config, &Env::real());
    assert!(!soon(silent.following.first().wait()).await);
}

#[tokio::test]
async fn dropping_ends_it() {
    let mut agent = FakeAgent::start().await;
    let mut followed = Followed::new(&consul(&agent.url), &Env::real());
    agent.asked().await;
    drop(followed.following);
    assert_eq!(
        soon(followed.given.recv()).await,
        None,
        "the callback is gone"
    );
}

/// Every question is seen and refused by the network; the clock is virtual.
#[tokio::test(start_paused = true)]
async fn an_agent_that_is_down_is_asked_ever_later() {
    let (dialled, mut dials) = mpsc::unbounded_channel();
    let pipes = InMemoryNetwork::new(move |_, _, _| {
        dialled.send(Instant::now()).unwrap();
        Err(std::io::ErrorKind::ConnectionRefused.into())
    });
    let _listening = pipes.listen("agent:8500");
    let world = Env::seeded(1, Net::InMemory(pipes));
    let config = Config {
        min_interval: Duration::from_secs(1),
        ..consul("http://agent:8500")
    };
    let _followed = Followed::new(&config, &world);
    let mut before = dials.recv().await.unwrap();
    for whole in [1, 2, 4, 8, 16, 32, 60, 60, 60].map(Duration::from_secs) {
        let at = dials.recv().await.unwrap();
        let wait = at - before;
        // Timers have a resolution of one millisecond.
        assert!(
            whole / 2 <= wait && wait <= whole + millis(1),
            "{wait:?} of {whole:?}"
        );
        before = at;
    }
}

#[tokio::test(start_paused = true)]
async fn on_pipes_consul_is_asked_and_names_stand_for_themselves() {
    let pipes =
        InMemoryNetwork::new(|_, _, pipe| Ok(crate::net::Connection::InMemory(Box::new(pipe))));
    let mut agent = FakeAgent::on(pipes.listen("agent:8500"), "http://agent:8500");
    let world = Env::seeded(1, Net::InMemory(pipes));
    let mut followed = Followed::new(&consul("http://agent:8500"), &world);
    agent.reply(Reply::ok(1, json!([instance("alpha-1", 80)])));
    assert_eq!(followed.addresses().await, ["alpha-1:80"]);
    assert_eq!(agent.asked().await.index(), None);
    for kind in [Kind::Dns, Kind::Srv] {
        let config = Config {
            kind,
            name: Some("_http._tcp.alpha.internal".into()),
            ..Config::default()
        };
        let mut followed = Followed::new(&config, &world);
        assert_eq!(followed.addresses().await, ["alpha.internal:3005"]);
    }
}

#[tokio::test]
async fn a_fixed_list_is_known_at_once() {
    let mut config = Config::default();
    let mut followed = Followed::new(&config, &Env::real());
    let own = followed.given.try_recv().unwrap();
    assert_eq!(own, [at("alpha.internal:3005")]);
    assert!(followed.following.first().wait().await);
    let fixed = |address: &str| StaticEndpoint {
        address: address.into(),
        weight: 1,
        zone: None,
    };
    config.endpoints = ["b:1", "a:1", "b:1"].map(fixed).to_vec();
    let mut followed = Followed::new(&config, &Env::real());
    assert_eq!(followed.given.try_recv().unwrap(), ["a:1", "b:1"].map(at));
    for (url, port) in [
        ("http://a", 80),
        ("https://a", 443),
        ("https://[::1]:1/x", 1),
    ] {
        assert_eq!(own_port(&url.parse().unwrap()), port, "{url}");
    }
}
