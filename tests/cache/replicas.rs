//! Two replicas of a gateway with the same backends and one Redis.

use super::purge::{TOKEN, purge};
use super::single_flight::{config_for_many_requests, http2_client, many_requests};
use super::*;
use crate::support::instant;
use test_servers::RedisServer;

/// Starts a web gateway. It calls the backends of the fleet `backends_of`, or its own backends for `None`.
async fn replica(config: &str, backends_of: Option<&TestFleet>) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".to_owned()];
        for backend in Backend::ALL {
            if let Some(backends_of) = backends_of {
                let url = backends_of.running.backend_url(backend).to_owned();
                fleet.real.insert(backend, url);
            }
        }
        fleet.overlays.insert("web".to_owned(), config.to_owned());
    })
    .await
}

async fn replicas(config: &str) -> (TestFleet, TestFleet) {
    let one = replica(config, None).await;
    let two = replica(config, Some(&one)).await;
    (one, two)
}

/// Configures Redis with timeouts that are long enough on a busy machine.
fn redis_config(redis: &RedisServer) -> String {
    format!(
        "{}timeout = \"10s\"\n[cache]\nmax_bytes = 67108864\n[cache.shared]\nlease_wait = \"10s\"\n",
        redis.config()
    )
}

async fn metrics(fleet: &TestFleet) -> String {
    let url = format!("{}/metrics", fleet.running.admin_url("web"));
    send(fleet.http.get(url)).await.text().await.unwrap()
}

#[tokio::test]
async fn equal_requests_at_two_replicas_make_one_call_per_backend() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let limits = config_for_many_requests();
    let (one, two) = replicas(&format!("{}{limits}", redis_config(&redis))).await;
    for backend in [Backend::Product, Backend::Review, Backend::Inventory] {
        let slow = Fault::latency(Duration::from_millis(700));
        one.running.mocks().set_fault(backend, slow).unwrap();
    }
    let urls = [&one, &two].map(|fleet| format!("{}{PART}", fleet.running.url("web")));
    let clients: Vec<Client> = (0..6).map(|_| http2_client()).collect();
    let requests = (0..many_requests()).map(|n| {
        let request = clients[n % 6].get(&urls[n % 2]);
        async move { send(request).await.json::<Value>().await.unwrap() }
    });
    let pages = join_all(requests).await;
    for page in &pages {
        assert_eq!(page["_meta"]["complete"], true, "{page}");
        assert_eq!(page["product"], pages[0]["product"]);
    }
    for backend in [Backend::Product, Backend::Review, Backend::Inventory] {
        assert_eq!(one.running.mocks().stats(backend).calls, 1, "{backend}");
    }
}

#[tokio::test]
async fn a_replica_uses_and_counts_entries_of_another() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let (one, two) = replicas(&redis_config(&redis)).await;
    let first = one.get("web", PART).await;
    assert_eq!(first.header("x-cache"), "MISS");
    let second = loop {
        // The gateway stores the entry in Redis after it has sent the response.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = total_calls(&one);
        let page = replica(&redis_config(&redis), Some(&one))
            .await
            .get("web", PART)
            .await;
        if total_calls(&one) == before {
            break page;
        }
    };
    assert_eq!(second.header("x-cache"), "HIT", "{}", second.body);
    assert_eq!(content(&second), content(&first));
    assert_eq!(second.section("product")["state"], "cached");
    two.get("web", PART).await;
    let text = metrics(&two).await;
    let is_hit = |line: &&str| {
        line.starts_with("bff_cache_l2_lookups_total{outcome=\"hit\",upstream=\"product\"")
            && line.ends_with(" 1")
    };
    assert!(text.lines().any(|line| is_hit(&line)), "{text}");
}

#[tokio::test]
async fn a_purge_at_one_replica_reaches_the_other() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let admin = format!("[server]\nadmin_token = \"{TOKEN}\"\n");
    let (one, two) = replicas(&format!("{}{admin}", redis_config(&redis))).await;
    for body in [
        json!({"tags": ["product:p-1"]}),
        json!({"keys": [{"upstream": "product", "path": "/products/p-1"}]}),
    ] {
        for fleet in [&one, &two] {
            fleet.get("web", PART).await;
            let again = fleet.get("web", PART).await;
            assert_eq!(again.section("product")["state"], "cached");
        }
        let product = || one.running.mocks().stats(Backend::Product).calls;
        let before = product();
        let (status, reply, _) = purge(&one, Some(TOKEN), &body).await;
        assert_eq!(
            (status.as_u16(), &reply["scope"]),
            (200, &"all_replicas".into())
        );
        // Without the purge the entry would be fresh for a minute.
        let purged = async {
            while product() == before {
                two.get("web", PART).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let result = tokio::time::timeout(Duration::from_secs(20), purged).await;
        assert!(result.is_ok(), "the purge did not reach the other replica");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_redis_restart_under_load_loses_no_page() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    // Redis has the shipped timeouts; the requests have time for a busy machine.
    let config = format!(
        "{}[inbound]\ndeadline = \"30s\"\n[cache]\nmax_bytes = 67108864\n\
         [upstream_defaults]\nattempt_timeout = \"20s\"\n[upstream_defaults.cache]\nttl = \"20ms\"\n",
        redis.config()
    );
    let (one, two) = replicas(&config).await;
    let load = async {
        let mut statuses = Vec::new();
        let started = instant();
        while started.elapsed() < Duration::from_secs(3) {
            for (fleet, user) in [(&one, "u-1"), (&two, "u-2")] {
                let bearer = fleet.bearer(user);
                let headers = [("authorization", bearer.as_str())];
                let page = fleet.get_with("web", PART, &headers).await;
                statuses.push((page.status.as_u16(), page.body["_meta"]["complete"] == true));
            }
        }
        statuses
    };
    let outage = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        redis.kill();
        tokio::time::sleep(Duration::from_millis(900)).await;
        redis.restart();
    };
    let (pages, ()) = futures_util::future::join(load, outage).await;
    assert!(!pages.is_empty());
    assert!(pages.iter().all(|page| *page == (200, true)), "{pages:?}");
}
