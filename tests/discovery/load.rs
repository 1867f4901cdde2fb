//! Instances are replaced under load: a deployment costs no response.

use std::time::Duration;

use serde_json::json;
use services_mock::Backend;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::TIMEOUT;
use super::consul::Agent;
use super::dns::{AUTHORITATIVE, NameServer};
use crate::support::TestFleet;
use crate::support::instance::Instance;
use test_servers::free_base;

/// A page with one section of the backend whose instances are replaced.
const PAGE: &str = "/api/product-details/p-1?fields=product,reviews";
/// The number of concurrent clients.
const CLIENTS: usize = 4;
/// The time for which a deregistered instance still runs. Longer than the interval between two queries.
const DRAIN: Duration = Duration::from_millis(1500);
/// The number of replacements.
const ROUNDS: usize = 3;
/// The pause of a client between two requests, so that this process has time for other tests.
const PAUSE: Duration = Duration::from_millis(20);

/// Clients that send requests without a pause until they are stopped.
struct ClientLoad {
    stop: CancellationToken,
    clients: JoinSet<(u64, Vec<String>)>,
}

impl ClientLoad {
    fn start(fleet: &TestFleet) -> Self {
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (stop, http) = (stop.clone(), fleet.http.clone());
            let url = format!("{}{PAGE}", fleet.running.url("web"));
            clients.spawn(async move {
                let (mut requests, mut failures) = (0, Vec::new());
                while !stop.is_cancelled() {
                    sleep(PAUSE).await;
                    requests += 1;
                    let response = crate::support::send(http.get(&url)).await;
                    let status = response.status();
                    let text = response.text().await.unwrap();
                    if status != 200 || !text.contains("\"complete\":true") {
                        failures.push(format!(
                            "request {requests}: {status} {}",
                            describe_sections(&text)
                        ));
                    }
                }
                (requests, failures)
            });
        }
        Self { stop, clients }
    }

    /// Stops the clients. Panics if a request failed.
    async fn end(self, name: &str, changes: usize) {
        self.stop.cancel();
        let results = self.clients.join_all().await;
        let requests: u64 = results.iter().map(|(requests, _)| requests).sum();
        let failures: Vec<&String> = results.iter().flat_map(|(_, failures)| failures).collect();
        eprintln!(
            "{name}: {requests} requests, {} failed, {changes} changes",
            failures.len()
        );
        assert!(
            failures.is_empty(),
            "{} of {requests}: {:#?}",
            failures.len(),
            failures
        );
        assert!(requests > 20, "{requests} requests are no load");
    }
}

/// The sections in a response's `_meta`.
fn describe_sections(text: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    body["_meta"]["sections"].to_string()
}

/// Waits until an instance gets calls.
async fn wait_for_calls(instance: &Instance) {
    let before = instance.stats().calls;
    let requests = async {
        while instance.stats().calls <= before + 3 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, requests).await.unwrap();
}

/// Waits until an instance gets no calls any more, while `next` does.
async fn wait_until_unused(instance: &Instance, next: &Instance) {
    let unused = async {
        loop {
            let before = instance.stats().calls;
            for _ in 0..10 {
                wait_for_calls(next).await;
            }
            if instance.stats().calls == before {
                return;
            }
        }
    };
    tokio::time::timeout(TIMEOUT, unused).await.unwrap();
}

/// Starts a fleet in which web discovers one backend like this.
async fn start_with_discovery(backend: &str, url: &str, discovery: &str) -> TestFleet {
    TestFleet::start_with(|fleet| {
        let overlay = format!(
            "[upstreams.{backend}]\nurl = \"{url}\"\ndiscovery = {{ {discovery} }}\n\
             [inbound]\ndeadline = \"30s\"\n"
        );
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
async fn replacing_instances_in_consul_and_killing_it_costs_no_response() {
    let Some(mut agent) = Agent::find_persistent() else {
        return;
    };
    agent.start();
    let mut current = Instance::start(Backend::Review).await;
    register(&agent, "review-0", &current).await;
    let url = &agent.url;
    let discovery = format!("kind = \"consul\", name = \"review\", consul = {{ url = \"{url}\" }}");
    let fleet = start_with_discovery("review", "http://review.test", &discovery).await;
    let load = ClientLoad::start(&fleet);
    for round in 1..=ROUNDS {
        wait_for_calls(&current).await;
        let next = Instance::start(Backend::Review).await;
        register(&agent, &format!("review-{round}"), &next).await;
        wait_for_calls(&next).await;
        let path = format!("agent/service/deregister/review-{}", round - 1);
        agent.put(&path, &json!({})).await;
        sleep(DRAIN).await;
        wait_until_unused(&current, &next).await;
        std::mem::replace(&mut current, next).stop().await;
        if round == ROUNDS / 2 {
            // Consul is killed and restarted with its data. Meanwhile the last known instance is used.
            agent.kill();
            for _ in 0..20 {
                wait_for_calls(&current).await;
            }
            // The start blocks its thread, and this thread serves the backends.
            let restart = move || {
                agent.start();
                agent
            };
            agent = tokio::task::spawn_blocking(restart).await.unwrap();
        }
    }
    agent.kill();
    for _ in 0..20 {
        wait_for_calls(&current).await;
    }
    load.end("Consul", 2 * ROUNDS).await;
}

#[tokio::test]
async fn replacing_addresses_in_dns_and_stopping_it_costs_no_response() {
    let Some(mut server) = NameServer::find() else {
        return;
    };
    // All instances have the same port, because a DNS name has only one.
    let port = free_base();
    let address = |n: usize| format!("127.0.0.{}:{port}", n + 2);
    let host = |n: usize| format!("127.0.0.{} review.test", n + 2);
    let mut current = Instance::start_at(Backend::Review, &address(0)).await;
    server.start(&[&host(0)], 1, &[AUTHORITATIVE]);
    let nameserver = server.address();
    let discovery =
        format!("kind = \"dns\", nameserver = \"{nameserver}\", min_interval = \"20ms\"");
    let url = format!("http://review.test:{port}");
    let fleet = start_with_discovery("review", &url, &discovery).await;
    let load = ClientLoad::start(&fleet);
    for round in 1..=ROUNDS {
        wait_for_calls(&current).await;
        let next = Instance::start_at(Backend::Review, &address(round)).await;
        server.start(&[&host(round - 1), &host(round)], 1, &[AUTHORITATIVE]);
        wait_for_calls(&next).await;
        // During the restart the name server does not respond, which changes nothing.
        server.start(&[&host(round)], 1, &[AUTHORITATIVE]);
        // A record has a TTL of one second.
        sleep(DRAIN + Duration::from_secs(1)).await;
        wait_until_unused(&current, &next).await;
        std::mem::replace(&mut current, next).stop().await;
    }
    server.stop();
    for _ in 0..20 {
        wait_for_calls(&current).await;
    }
    load.end("DNS", 2 * ROUNDS).await;
}

#[tokio::test]
async fn without_an_instance_the_response_is_503() {
    let Some(mut agent) = Agent::find_persistent() else {
        return;
    };
    agent.start();
    let url = &agent.url;
    let discovery =
        format!("kind = \"consul\", name = \"product\", consul = {{ url = \"{url}\" }}");
    let fleet = start_with_discovery("product", "http://product.test", &discovery).await;
    // Waiting for an instance would end with the code `deadline`.
    let page = fleet.get("web", PAGE).await;
    assert_eq!(
        (page.status.as_u16(), &page.body["code"]),
        (503, &"no_instance".into())
    );
    assert!(!page.header("retry-after").is_empty());
    let fixed_calls = fleet.running.mocks().stats(Backend::Product).calls;
    assert_eq!(fixed_calls, 0, "the address in the URL must not be used");
    // An instance is registered, deregistered and registered again. The circuit breaker stays closed meanwhile.
    let instance = Instance::start(Backend::Product).await;
    let address = instance.address;
    let service =
        json!({"Name": "product", "Address": address.ip(), "Port": address.port(), "Check": null});
    for _ in 0..2 {
        agent.register("one", service.clone()).await;
        wait_for_status(&fleet, 200).await;
        agent.put("agent/service/deregister/one", &json!({})).await;
        wait_for_status(&fleet, 503).await;
    }
}

/// Sends requests until the response has this status.
async fn wait_for_status(fleet: &TestFleet, status: u16) {
    let changed = async {
        while fleet.get("web", PAGE).await.status != status {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, changed).await.unwrap();
}
