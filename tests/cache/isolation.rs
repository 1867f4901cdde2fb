//! No caller gets another caller's data from the cache or from a shared call.

use std::collections::BTreeMap;

use bff_services::order::OrderClient;

use super::*;

const CALLERS: [&str; 5] = ["", "ada", "ben", "kim", "root"];
const PATHS: [&str; 3] = [PAGE, "/api/home", "/api/me"];

async fn get_as(fleet: &TestFleet, caller_name: &str, path: &str) -> JsonResponse {
    if caller_name.is_empty() {
        return fleet.get("web", path).await;
    }
    let token = fleet.bearer(caller_name);
    fleet
        .get_with("web", path, &[("authorization", &token)])
        .await
}

#[tokio::test]
async fn cached_pages_of_several_callers_never_mix() {
    // The expected pages come from a fleet without a cache.
    let uncached = TestFleet::start().await;
    let mut expected = BTreeMap::new();
    for caller_name in CALLERS {
        for path in PATHS {
            expected.insert(
                (caller_name, path),
                content_or_code(&get_as(&uncached, caller_name, path).await),
            );
        }
    }
    assert_ne!(expected[&("ada", "/api/me")], expected[&("ben", "/api/me")]);
    let fleet = start_caching("").await;
    for round in 0..6 {
        let all = CALLERS
            .iter()
            .flat_map(|caller_name| PATHS.map(|path| (*caller_name, path)));
        let requests = all.map(|(caller_name, path)| {
            let fleet = &fleet;
            async move { ((caller_name, path), get_as(fleet, caller_name, path).await) }
        });
        for (key, page) in join_all(requests).await {
            assert_eq!(
                content_or_code(&page),
                expected[&key],
                "{key:?} in round {round}"
            );
            let private = page.header("cache-control").starts_with("private");
            let personal = !page.section("friends").is_null() || page.body.get("profile").is_some();
            assert!(private || !personal, "{key:?}: {:?}", page.headers);
            for (name, section) in page.body["_meta"]["sections"]
                .as_object()
                .into_iter()
                .flatten()
            {
                let is_caller_data = section["source"] == "user";
                assert!(
                    !is_caller_data || section["state"] == "fresh",
                    "{key:?}: {name}: {section}"
                );
            }
        }
    }
    let review = fleet.running.mocks().stats(Backend::Review).calls;
    assert!(review < 5, "{review} calls: public data is shared");
    // The user backend's data is never cached.
    let me = get_as(&fleet, "ada", "/api/me").await;
    assert_eq!(
        (me.header("x-cache"), me.header("cache-status")),
        ("BYPASS", "bff; fwd=bypass")
    );
}

fn content_or_code(page: &JsonResponse) -> Value {
    match page.status.as_u16() {
        200 => content(page),
        _ => page.body["code"].clone(),
    }
}

#[tokio::test]
async fn a_segment_shares_entries_only_within_itself() {
    let fleet = start_caching("").await;
    let path = "/api/product-details/p-1?fields=product,availability";
    let market = |page: &JsonResponse| {
        page.body["availability"]["region"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut markets = BTreeMap::new();
    for caller_name in CALLERS {
        let page = get_as(&fleet, caller_name, path).await;
        let first = markets.insert(market(&page), caller_name).is_none();
        let state = &page.section("availability")["state"];
        assert_eq!(
            state,
            if first { "fresh" } else { "cached" },
            "{caller_name}: {}",
            page.body
        );
        let again = get_as(&fleet, caller_name, path).await;
        assert_eq!(
            (market(&again), again.header("x-cache")),
            (market(&page), "HIT")
        );
        // A cache outside the gateway does not know the caller's market.
        let scope = if caller_name.is_empty() {
            "public"
        } else {
            "private"
        };
        assert!(
            again.header("cache-control").starts_with(scope),
            "{caller_name}"
        );
    }
    assert!(markets.len() > 1, "all callers are in the same market");
    assert_eq!(
        fleet.running.mocks().stats(Backend::Inventory).calls,
        markets.len() as u64
    );
    assert_eq!(fleet.running.mocks().stats(Backend::Product).calls, 1);
    // These request headers have no effect.
    let headers = [("accept-language", "de"), ("cache-control", "no-cache")];
    let page = fleet.get_with("web", path, &headers).await;
    assert_eq!(page.header("x-cache"), "HIT");
    assert_eq!(page.headers.get_all("vary").iter().count(), 1);
}

#[tokio::test]
async fn a_path_without_a_user_id_is_still_cached_per_caller() {
    let fleet = TestFleet::start().await;
    let (cx, upstream) = upstream_of(&fleet, Backend::Order);
    let (order, ada, ben) = (OrderClient::new(upstream), caller("ada"), caller("ben"));
    let id = "p-1".parse().unwrap();
    order.put_item(&cx, &ada, &id, 3).await.unwrap();
    // A call of the same millisecond as a write is not shared, because it may have started before the write.
    tokio::time::sleep(Duration::from_millis(2)).await;
    // Slow enough that all calls are in flight together.
    let slow = Fault::latency(Duration::from_millis(500));
    fleet
        .running
        .mocks()
        .set_fault(Backend::Order, slow)
        .unwrap();
    let before = fleet.running.mocks().stats(Backend::Order).calls;
    let carts = join_all([&ada, &ben, &ada, &ben].map(|key| order.cart(&cx, key))).await;
    let lines: Vec<usize> = (carts.into_iter())
        .map(|cart| cart.unwrap().value.items.len())
        .collect();
    assert_eq!(lines, [1, 0, 1, 0]);
    assert_eq!(
        fleet.running.mocks().stats(Backend::Order).calls,
        before + 2
    );
    // Carts are shared while in flight, but not cached.
    order.cart(&cx, &ada).await.unwrap();
    assert_eq!(
        fleet.running.mocks().stats(Backend::Order).calls,
        before + 3
    );
}
