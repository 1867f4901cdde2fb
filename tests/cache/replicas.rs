//! Two replicas of a gateway before the same backends, on one Redis.

use super::purge::{TOKEN, purge};
use super::single_flight::many;
use super::*;
use crate::support::redis::Redis;

/// A web gateway with its own copies; `behind` is whose backends it calls, if they are not its own.
async fn replica(config: &str, behind: Option<&TestFleet>) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".to_owned()];
        for backend in Backend::ALL {
            if let Some(behind) = behind {
                let url = behind.running.backend_url(backend).to_owned();
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

/// The machine that runs tests is busy with other things too.
fn patient(redis: &Redis) -> String {
    format!(
        "{}timeout = \"2s\"\n[cache]\nmax_bytes = 67108864\n[cache.shared]\nlease_wait = \"10s\"\n",
        redis.config()
    )
}

async fn metrics(fleet: &TestFleet) -> String {
    let url = format!("{}/metrics", fleet.running.admin_url("web"));
    send(fleet.http.get(url)).await.text().await.unwrap()
}

#[tokio::test]
async fn a_thousand_equal_requests_at_two_replicas_are_one_call_to_each_backend() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let wide = "[inbound]\ndeadline = \"20s\"\n[inbound.load_shedding.concurrency_limit]\ninitial = 2000\nmax = 2000\n";
    let (one, two) = replicas(&format!("{}{wide}", patient(&redis))).await;
    for backend in [Backend::Product, Backend::Review, Backend::Inventory] {
        let slow = Fault::latency(Duration::from_millis(700));
        one.running.mocks().set_fault(backend, slow).unwrap();
    }
    let urls = [&one, &two].map(|fleet| format!("{}{PART}", fleet.running.url("web")));
    let clients: Vec<Client> = (0..6).map(|_| many()).collect();
    let asking = (0..1000).map(|n| {
        let request = clients[n % 6].get(&urls[n % 2]);
        async move { send(request).await.json::<Value>().await.unwrap() }
    });
    let pages = join_all(asking).await;
    for page in &pages {
        assert_eq!(page["_meta"]["complete"], true, "{page}");
        assert_eq!(page["product"], pages[0]["product"]);
    }
    for backend in [Backend::Product, Backend::Review, Backend::Inventory] {
        assert_eq!(one.running.mocks().stats(backend).calls, 1, "{backend}");
    }
}

#[tokio::test]
async fn what_one_replica_fetched_the_other_shows_as_a_copy_and_counts() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let (one, two) = replicas(&patient(&redis)).await;
    let first = one.get("web", PART).await;
    assert_eq!(first.header("x-cache"), "MISS");
    let second = loop {
        // Kept for others beside the answer, which waits for nobody.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = calls(&one);
        let page = replica(&patient(&redis), Some(&one))
            .await
            .get("web", PART)
            .await;
        if calls(&one) == before {
            break page;
        }
    };
    assert_eq!(second.header("x-cache"), "HIT", "{}", second.body);
    assert_eq!(content(&second), content(&first));
    assert_eq!(second.section("product")["state"], "cached");
    two.get("web", PART).await;
    let text = metrics(&two).await;
    let counted = |line: &&str| {
        line.starts_with("bff_cache_l2_lookups_total{outcome=\"hit\",upstream=\"product\"")
            && line.ends_with(" 1")
    };
    assert!(text.lines().any(|line| counted(&line)), "{text}");
}

#[tokio::test]
async fn a_purge_at_one_replica_is_seen_at_the_other_within_a_second() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let admin = format!("[server]\nadmin_token = \"{TOKEN}\"\n");
    let (one, two) = replicas(&format!("{}{admin}", patient(&redis))).await;
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
        let (before, began) = (product(), instant());
        let (status, told, _) = purge(&one, Some(TOKEN), &body).await;
        assert_eq!(
            (status.as_u16(), &told["scope"]),
            (200, &"all_replicas".into())
        );
        while product() == before {
            two.get("web", PART).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn redis_may_die_and_come_back_under_load_and_no_page_is_lost() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    // As configured: a busy machine only makes Redis be away more often.
    let config = format!(
        "{}[cache]\nmax_bytes = 67108864\n[upstream_defaults.cache]\nttl = \"20ms\"\n",
        redis.config()
    );
    let (one, two) = replicas(&config).await;
    let load = async {
        let mut statuses = Vec::new();
        let begun = instant();
        while begun.elapsed() < Duration::from_secs(3) {
            for (fleet, user) in [(&one, "u-1"), (&two, "u-2")] {
                let bearer = fleet.bearer(user);
                let headers = [("authorization", bearer.as_str())];
                let page = fleet.get_with("web", PART, &headers).await;
                statuses.push((page.status.as_u16(), page.body["_meta"]["complete"] == true));
            }
        }
        statuses
    };
    let mishap = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        redis.kill();
        tokio::time::sleep(Duration::from_millis(900)).await;
        redis.run();
    };
    let (pages, ()) = futures_util::future::join(load, mishap).await;
    assert!(pages.len() > 10);
    assert!(pages.iter().all(|page| *page == (200, true)), "{pages:?}");
}
