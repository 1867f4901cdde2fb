//! Instances come and go while people ask: a deployment costs nobody an answer.

use std::time::Duration;

use serde_json::json;
use services_mock::Backend;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::consul::Agent;
use super::dns::{COMPLETE, NameServer};
use super::{PATIENCE, free_ports::free_base};
use crate::support::instance::Instance;
use crate::support::{TestFleet, instant};

/// What is asked for: one section is of the backend whose instances change.
const PAGE: &str = "/api/product-details/p-1?fields=product,reviews";
/// How many ask at once.
const CLIENTS: usize = 4;
/// How long a deployer lets an instance that is no longer registered go on: longer than two questions are apart.
const DRAIN: Duration = Duration::from_millis(1500);
/// How often the instance is replaced by another.
const ROUNDS: usize = 5;

/// People who ask without a pause, until they are told to stop.
struct Load {
    stop: CancellationToken,
    clients: JoinSet<(u64, Vec<String>)>,
}

impl Load {
    fn on(fleet: &TestFleet) -> Self {
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (stop, http) = (stop.clone(), fleet.http.clone());
            let url = format!("{}{PAGE}", fleet.running.url("web"));
            clients.spawn(async move {
                let (mut asked, mut failed) = (0, Vec::new());
                while !stop.is_cancelled() {
                    asked += 1;
                    let response = crate::support::send(http.get(&url)).await;
                    let status = response.status();
                    let text = response.text().await.unwrap();
                    if status != 200 || !text.contains("\"complete\":true") {
                        failed.push(format!("request {asked}: {status} {}", told(&text)));
                    }
                }
                (asked, failed)
            });
        }
        Self { stop, clients }
    }

    /// How many requests there were; fails when one of them did.
    async fn end(self, of: &str, changes: usize) {
        self.stop.cancel();
        let done = self.clients.join_all().await;
        let asked: u64 = done.iter().map(|(asked, _)| asked).sum();
        let failed: Vec<&String> = done.iter().flat_map(|(_, failed)| failed).collect();
        eprintln!(
            "{of}: {asked} requests, {} failed, {changes} changes",
            failed.len()
        );
        assert!(
            failed.is_empty(),
            "{} of {asked}: {:#?}",
            failed.len(),
            failed
        );
        assert!(asked > 100, "{asked} requests are no load");
    }
}

/// What an answer says of its sections.
fn told(text: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    body["_meta"]["sections"].to_string()
}

/// Waits until an instance is asked.
async fn is_asked(instance: &Instance) {
    let before = instance.stats().calls;
    let asked = async {
        while instance.stats().calls <= before + 3 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
}

/// A shop whose web finds one backend so.
async fn shop_that_asks(backend: &str, url: &str, discovery: &str) -> TestFleet {
    TestFleet::start_with(|fleet| {
        let overlay =
            format!("[upstreams.{backend}]\nurl = \"{url}\"\ndiscovery = {{ {discovery} }}\n");
        fleet.overlays.insert("web".into(), overlay);
    })
    .await
}

async fn register(agent: &Agent, id: &str, instance: &Instance) {
    let address = instance.address;
    let service = json!({
        "Name": "review", "Address": address.ip(), "Port": address.port(), "Tags": [], "Check": null,
    });
    agent.register(id, service).await;
}

#[tokio::test]
async fn nobody_notices_that_instances_in_consul_come_and_go_nor_that_it_dies() {
    let Some(mut agent) = Agent::that_remembers() else {
        return;
    };
    agent.start();
    let mut current = Instance::start(Backend::Review).await;
    register(&agent, "review-0", &current).await;
    let url = &agent.url;
    let discovery = format!("kind = \"consul\", name = \"review\", consul = {{ url = \"{url}\" }}");
    let fleet = shop_that_asks("review", "http://review.test", &discovery).await;
    let load = Load::on(&fleet);
    for round in 1..=ROUNDS {
        is_asked(&current).await;
        let next = Instance::start(Backend::Review).await;
        register(&agent, &format!("review-{round}"), &next).await;
        is_asked(&next).await;
        let gone = format!("agent/service/deregister/review-{}", round - 1);
        agent.put(&gone, &json!({})).await;
        sleep(DRAIN).await;
        let asked = current.stats().calls;
        is_asked(&next).await;
        assert_eq!(current.stats().calls, asked, "it is asked no more");
        std::mem::replace(&mut current, next).stop().await;
        if round == ROUNDS / 2 {
            // It dies, and comes back knowing what it knew. Meanwhile the last known instance stays.
            agent.kill();
            for _ in 0..20 {
                is_asked(&current).await;
            }
            // It takes its time to come back, and this thread has backends to serve meanwhile.
            let back = move || {
                agent.start();
                agent
            };
            agent = tokio::task::spawn_blocking(back).await.unwrap();
        }
    }
    // For good.
    agent.kill();
    for _ in 0..20 {
        is_asked(&current).await;
    }
    load.end("Consul", 2 * ROUNDS).await;
}

#[tokio::test]
async fn nobody_notices_that_addresses_in_dns_come_and_go_nor_that_it_dies() {
    let Some(mut server) = NameServer::find() else {
        return;
    };
    // All on one port, as behind a name.
    let port = free_base();
    let at = |n: usize| format!("127.0.0.{}:{port}", n + 2);
    let host = |n: usize| format!("127.0.0.{} review.test", n + 2);
    let mut current = Instance::start_at(Backend::Review, &at(0)).await;
    server.start(&[&host(0)], 1, &[COMPLETE]);
    let nameserver = server.address();
    let discovery =
        format!("kind = \"dns\", nameserver = \"{nameserver}\", min_interval = \"20ms\"");
    let url = format!("http://review.test:{port}");
    let fleet = shop_that_asks("review", &url, &discovery).await;
    let load = Load::on(&fleet);
    for round in 1..=ROUNDS {
        is_asked(&current).await;
        let next = Instance::start_at(Backend::Review, &at(round)).await;
        server.start(&[&host(round - 1), &host(round)], 1, &[COMPLETE]);
        is_asked(&next).await;
        // A restart is a silence of the name server, which changes nothing, and then another answer.
        server.start(&[&host(round)], 1, &[COMPLETE]);
        // A record lives for a second.
        sleep(DRAIN + Duration::from_secs(1)).await;
        let asked = current.stats().calls;
        is_asked(&next).await;
        assert_eq!(current.stats().calls, asked, "it is asked no more");
        std::mem::replace(&mut current, next).stop().await;
    }
    server.stop();
    for _ in 0..20 {
        is_asked(&current).await;
    }
    load.end("DNS", 2 * ROUNDS).await;
}

#[tokio::test]
async fn without_an_instance_the_answer_is_503_at_once_and_with_one_it_is_not() {
    let Some(mut agent) = Agent::that_remembers() else {
        return;
    };
    agent.start();
    let url = &agent.url;
    let discovery =
        format!("kind = \"consul\", name = \"product\", consul = {{ url = \"{url}\" }}");
    let fleet = shop_that_asks("product", "http://product.test", &discovery).await;
    let began = instant();
    let page = fleet.get("web", PAGE).await;
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        (page.status.as_u16(), &page.body["code"]),
        (503, &"no_instance".into())
    );
    assert!(!page.header("retry-after").is_empty());
    let one = fleet.running.mocks().stats(Backend::Product).calls;
    assert_eq!(one, 0, "the one of the url is not asked instead");
    // One comes, goes, and comes back: nothing is held against the backend meanwhile.
    let instance = Instance::start(Backend::Product).await;
    let address = instance.address;
    let service =
        json!({"Name": "product", "Address": address.ip(), "Port": address.port(), "Check": null});
    for _ in 0..2 {
        agent.register("one", service.clone()).await;
        becomes(&fleet, 200).await;
        agent.put("agent/service/deregister/one", &json!({})).await;
        becomes(&fleet, 503).await;
    }
}

/// Asks until the answer is another one, which is soon.
async fn becomes(fleet: &TestFleet, status: u16) {
    let other = async {
        while fleet.get("web", PAGE).await.status != status {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let soon = Duration::from_secs(3);
    tokio::time::timeout(soon, other).await.unwrap();
}
