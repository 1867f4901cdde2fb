//! The response cache: what it stores, for how long, and for which callers.

use std::time::Duration;

use bff_core::GatewayHandles;
use bff_core::context::Env;
use bff_core::outbound::{self, Freshness, Upstream};
use bff_core::scope::Identity;
use bff_core::{Caller, RequestContext, UpstreamClient};
use bff_services::review::{NewReview, ReviewClient};
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use services_mock::{Backend, Fault, Mode};

use crate::sim_fleet::SimFleet;
use crate::support::{JsonResponse, TestFleet, send};

mod freshness;
mod isolation;
mod purge;
mod replicas;
mod single_flight;

const PAGE: &str = "/api/product-details/p-1";
const PART: &str = "/api/product-details/p-1?fields=product,reviews,availability";

/// Starts a fleet that caches, with more configuration for web.
async fn start_caching(web: &str) -> TestFleet {
    TestFleet::start_with(|fleet| {
        let web = format!("[cache]\nmax_bytes = 67108864\n{web}");
        fleet.overlays.insert("web".into(), web);
    })
    .await
}

/// A request context and an upstream, for calls that no screen makes.
fn upstream_of(fleet: &TestFleet, backend: Backend) -> (RequestContext, Upstream) {
    let shared = GatewayHandles::in_process("web", Env::real());
    let config = outbound::Config::at(fleet.running.backend_url(backend).parse().unwrap());
    let upstream = Upstream::new(backend.name(), &config, &shared).unwrap();
    (
        RequestContext::background(&shared.client, &shared.env, Duration::from_secs(5)),
        upstream,
    )
}

fn caller(account: &str) -> Caller {
    let account = account.to_owned();
    let identity = Identity {
        account,
        ..Identity::default()
    };
    Caller::new(identity).unwrap()
}

fn total_calls(fleet: &TestFleet) -> u64 {
    let count = |backend| fleet.running.mocks().stats(backend).calls;
    Backend::ALL.into_iter().map(count).sum()
}

fn max_age(page: &JsonResponse) -> Option<u64> {
    let (_, age) = page.header("cache-control").split_once("max-age=")?;
    age.parse().ok()
}

/// The page without `_meta`.
fn content(page: &JsonResponse) -> Value {
    let mut body = page.body.clone();
    body.as_object_mut().unwrap().remove("_meta");
    body
}

#[tokio::test]
async fn a_write_invalidates_what_its_caller_reads() {
    let fleet = TestFleet::start().await;
    let (cx, upstream) = upstream_of(&fleet, Backend::Review);
    let (review, ada) = (ReviewClient::new(upstream), caller("ada"));
    let read = async |id: &str| {
        let read = review.of_product(&cx, &id.parse().unwrap(), 10, None).await;
        let read = read.unwrap();
        (read.value.count, read.provenance.state)
    };
    let (before, _) = read("p-1").await;
    read("p-2").await;
    assert_eq!(read("p-1").await, (before, Freshness::Cached));
    let draft = NewReview {
        product_id: "p-1".parse().unwrap(),
        rating: 5,
        title: "T".into(),
        text: "X".into(),
    };
    review.post(&cx, &ada, None, &draft).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(read("p-1").await, (before + 1, Freshness::Fresh));
    assert_eq!(read("p-1").await, (before + 1, Freshness::Cached));
    assert_eq!(
        read("p-2").await.1,
        Freshness::Cached,
        "the review was for another product"
    );
}

#[tokio::test]
async fn metrics_count_cache_lookups() {
    let fleet = start_caching("").await;
    for _ in 0..3 {
        fleet
            .get("web", "/api/product-details/p-1?fields=product")
            .await;
    }
    let metrics = fleet
        .http
        .get(format!("{}/metrics", fleet.running.admin_url("web")));
    let metrics = send(metrics).await.text().await.unwrap();
    for (outcome, count) in [("miss", 1), ("hit", 2)] {
        let line = format!(
            "bff_cache_lookups_total{{outcome=\"{outcome}\",route=\"/products/{{id}}\",upstream=\"product\",client=\"web\"}} {count}"
        );
        assert!(
            metrics.lines().any(|l| l == line),
            "no {line} in\n{metrics}"
        );
    }
    assert!(
        metrics.contains("bff_cache_bytes{client=\"web\"}"),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_cache_size_is_bounded() {
    let fleet = TestFleet::start_with(|fleet| {
        let config = "[cache]\nmax_bytes = 60000\n".to_owned();
        fleet.overlays.insert("web".into(), config);
    })
    .await;
    let cache_bytes = || async {
        let metrics = fleet
            .http
            .get(format!("{}/metrics", fleet.running.admin_url("web")));
        let metrics = send(metrics).await.text().await.unwrap();
        let mut lines = metrics.lines();
        let line = lines.find_map(|l| l.strip_prefix("bff_cache_bytes{client=\"web\"} "));
        line.unwrap().parse::<f64>().unwrap()
    };
    for n in 1..=100 {
        let path = format!("/api/product-details/p-{n}?fields=product");
        assert_eq!(fleet.get("web", &path).await.status, 200);
        if n % 20 == 0 {
            let cache_bytes = cache_bytes().await;
            assert!(
                cache_bytes > 1000.0 && cache_bytes <= 60000.0,
                "{cache_bytes}"
            );
        }
    }
    let before = total_calls(&fleet);
    for n in 1..=100 {
        fleet
            .get("web", &format!("/api/product-details/p-{n}?fields=product"))
            .await;
    }
    assert!(
        total_calls(&fleet) > before + 50,
        "most entries should be evicted"
    );
}
