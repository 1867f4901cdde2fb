//! One reader's page is never another's, however much is kept and shared.

use std::collections::BTreeMap;

use bff_services::order::OrderClient;

use super::*;

const ASKERS: [&str; 5] = ["", "ada", "ben", "kim", "root"];
const PATHS: [&str; 3] = [PAGE, "/api/home", "/api/me"];

async fn ask(fleet: &TestFleet, asker: &str, path: &str) -> JsonResponse {
    if asker.is_empty() {
        return fleet.get("web", path).await;
    }
    let token = fleet.bearer(asker);
    fleet
        .get_with("web", path, &[("authorization", &token)])
        .await
}

#[tokio::test]
async fn pages_of_several_people_never_mix() {
    // As each of them sees it alone, with nothing kept.
    let alone = TestFleet::start().await;
    let mut own = BTreeMap::new();
    for asker in ASKERS {
        for path in PATHS {
            own.insert(
                (asker, path),
                content_or_code(&ask(&alone, asker, path).await),
            );
        }
    }
    assert_ne!(own[&("ada", "/api/me")], own[&("ben", "/api/me")]);
    let fleet = keeping("").await;
    for round in 0..6 {
        let all = ASKERS
            .iter()
            .flat_map(|asker| PATHS.map(|path| (*asker, path)));
        let asking = all.map(|(asker, path)| {
            let fleet = &fleet;
            async move { ((asker, path), ask(fleet, asker, path).await) }
        });
        for (who, page) in join_all(asking).await {
            assert_eq!(
                content_or_code(&page),
                own[&who],
                "{who:?} in round {round}"
            );
            let private = page.header("cache-control").starts_with("private");
            let personal = !page.section("friends").is_null() || page.body.get("profile").is_some();
            assert!(private || !personal, "{who:?}: {:?}", page.headers);
            for (name, told) in page.body["_meta"]["sections"]
                .as_object()
                .into_iter()
                .flatten()
            {
                let of_a_caller = told["source"] == "user";
                assert!(
                    !of_a_caller || told["state"] == "fresh",
                    "{who:?}: {name}: {told}"
                );
            }
        }
    }
    let review = fleet.running.mocks().stats(Backend::Review).calls;
    assert!(review < 5, "{review}: what is everybody's is shared");
    // What only users answer is nothing that could have been kept.
    let me = ask(&fleet, "ada", "/api/me").await;
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
async fn a_segment_shares_within_itself_only() {
    let fleet = keeping("").await;
    let path = "/api/product-details/p-1?fields=product,availability";
    let market = |page: &JsonResponse| {
        page.body["availability"]["region"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut markets = BTreeMap::new();
    for asker in ASKERS {
        let page = ask(&fleet, asker, path).await;
        let first = markets.insert(market(&page), asker).is_none();
        let state = &page.section("availability")["state"];
        assert_eq!(
            state,
            if first { "fresh" } else { "cached" },
            "{asker}: {}",
            page.body
        );
        let again = ask(&fleet, asker, path).await;
        assert_eq!(
            (market(&again), again.header("x-cache")),
            (market(&page), "HIT")
        );
        // A cache outside cannot tell one's market from another's.
        let scope = if asker.is_empty() {
            "public"
        } else {
            "private"
        };
        assert!(again.header("cache-control").starts_with(scope), "{asker}");
    }
    assert!(markets.len() > 1, "everybody is in the same market");
    assert_eq!(
        fleet.running.mocks().stats(Backend::Inventory).calls,
        markets.len() as u64
    );
    assert_eq!(fleet.running.mocks().stats(Backend::Product).calls, 1);
    // What a client asks for in vain changes nothing.
    let german = [("accept-language", "de"), ("cache-control", "no-cache")];
    let page = fleet.get_with("web", path, &german).await;
    assert_eq!(page.header("x-cache"), "HIT");
    assert_eq!(page.headers.get_all("vary").iter().count(), 1);
}

#[tokio::test]
async fn an_address_that_names_nobody_is_still_each_callers_own() {
    let fleet = TestFleet::start().await;
    let (cx, up) = calling(&fleet, Backend::Order);
    let (order, ada, ben) = (OrderClient::new(up), caller("ada"), caller("ben"));
    let id = "p-1".parse().unwrap();
    order.put_item(&cx, &ada, &id, 3).await.unwrap();
    // Nobody joins a call of the same millisecond as a write: it may have begun before.
    tokio::time::sleep(Duration::from_millis(2)).await;
    // Slow, so that all of these are in flight together.
    let slow = Fault::latency(Duration::from_millis(100));
    fleet
        .running
        .mocks()
        .set_fault(Backend::Order, slow)
        .unwrap();
    let before = fleet.running.mocks().stats(Backend::Order).calls;
    let carts = join_all([&ada, &ben, &ada, &ben].map(|who| order.cart(&cx, who))).await;
    let lines: Vec<usize> = (carts.into_iter())
        .map(|cart| cart.unwrap().value.items.len())
        .collect();
    assert_eq!(lines, [1, 0, 1, 0]);
    assert_eq!(
        fleet.running.mocks().stats(Backend::Order).calls,
        before + 2
    );
    // Nothing of it is kept.
    order.cart(&cx, &ada).await.unwrap();
    assert_eq!(
        fleet.running.mocks().stats(Backend::Order).calls,
        before + 3
    );
}
