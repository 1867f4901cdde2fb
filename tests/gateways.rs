//! Every gateway's title page keeps its promise: what fails is told, and nothing else changes.

use services_mock::{Backend, Fault, Mode};

use crate::support::Shop;

/// Gateway, page, the required section.
const PAGES: [(&str, &str, &str); 4] = [
    ("web", "/api/product-details/p-1", "product"),
    ("mobile", "/v1/products/p-1", "product"),
    ("tv", "/v1/titles/p-1", "title"),
    ("partner", "/v2/products/p-1", "product"),
];

const KEY: [(&str, &str); 1] = [("x-api-key", fleet::PARTNER_KEY)];

fn key(gateway: &str) -> &'static [(&'static str, &'static str)] {
    if gateway == "partner" { &KEY } else { &[] }
}

#[tokio::test]
async fn each_page_loses_only_the_section_whose_backend_fails() {
    let shop = Shop::open().await;
    for (gateway, path, required) in PAGES {
        shop.fleet.mocks().clear_faults(None);
        let whole = shop.get_with(gateway, path, key(gateway)).await;
        assert_eq!(
            (whole.status.as_u16(), &whole.body["_meta"]["complete"]),
            (200, &true.into()),
            "{gateway}"
        );
        let names: Vec<String> = whole.body["_meta"]["sections"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!((names[0].as_str(), names.len()), (required, 4), "{gateway}");
        for (backend, fault, reason) in [
            (Backend::Review, Fault::status(503), "unavailable"),
            (
                Backend::Review,
                Fault::mode(Mode::Malformed),
                "bad_response",
            ),
            (Backend::Inventory, Fault::mode(Mode::Reset), "unavailable"),
            (
                Backend::Product,
                Fault::status(500).on("/products/p-1/similar"),
                "bad_response",
            ),
        ] {
            shop.fleet.mocks().clear_faults(None);
            shop.fleet.mocks().set_fault(backend, fault).unwrap();
            let page = shop.get_with(gateway, path, key(gateway)).await;
            assert_eq!(page.status, 200, "{gateway} without {backend}");
            let missing: Vec<&String> = names
                .iter()
                .filter(|n| page.section(n)["state"] == "missing")
                .collect();
            let [missing] = missing[..] else {
                panic!("{gateway} without {backend}: {missing:?}")
            };
            assert_eq!(page.section(missing)["reason"], reason, "{gateway}");
            assert_eq!(page.section(missing)["source"], backend.name(), "{gateway}");
            assert!(page.body[missing].is_null());
            for other in names.iter().filter(|n| *n != missing) {
                assert_eq!(page.body[other], whole.body[other], "{gateway}: {other}");
            }
        }
        shop.fleet.mocks().clear_faults(None);
        shop.fleet
            .mocks()
            .set_fault(Backend::Product, Fault::status(503))
            .unwrap();
        let page = shop.get_with(gateway, path, key(gateway)).await;
        assert_eq!(
            (page.status.as_u16(), &page.body["code"]),
            (503, &"unavailable".into()),
            "{gateway}"
        );
    }
}

#[tokio::test]
async fn each_gateway_answers_in_a_shape_of_its_own() {
    let shop = Shop::open().await;
    let mut shapes = Vec::new();
    for (gateway, path, required) in PAGES {
        let page = shop.get_with(gateway, path, key(gateway)).await;
        let members = page.body[required].as_object().unwrap();
        let shape: Vec<String> = members.keys().cloned().collect();
        assert!(!shapes.contains(&shape), "{gateway} copies another gateway");
        shapes.push(shape);
    }
}

#[tokio::test]
async fn a_row_that_fails_is_left_out_and_told() {
    let shop = Shop::open().await;
    let whole = shop.get("tv", "/v1/browse").await;
    let rows = whole.body["rows"].as_array().unwrap();
    let lost = rows[0]["id"].as_str().unwrap();
    let fault = Fault::status(503).on(format!("/collections/{lost}"));
    shop.fleet
        .mocks()
        .set_fault(Backend::Product, fault)
        .unwrap();
    let page = shop.get("tv", "/v1/browse").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.section(&format!("rows.{lost}"))["state"], "missing");
    assert_eq!(page.body["rows"].as_array().unwrap()[..], rows[1..]);
    assert!(
        page.header("sections")
            .contains(&format!("rows.{lost}=missing"))
    );
}

#[tokio::test]
async fn a_partner_needs_a_good_key() {
    let shop = Shop::open().await;
    for bad in [
        "",
        "nonsense",
        "bffp_demo_wrong",
        "bffp_other_only-for-this-machine",
    ] {
        let refused = shop
            .get_with("partner", "/v2/products", &[("x-api-key", bad)])
            .await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["code"]),
            (401, &"unauthenticated".into()),
            "{bad:?}"
        );
    }
    assert_eq!(
        shop.get("partner", "/v2/products?perPage=0").await.status,
        401
    );
    let wrong = shop
        .get_with("partner", "/v2/products?perPage=0", &KEY)
        .await;
    assert_eq!(wrong.body["errors"][0]["pointer"], "/query/perPage");
    let batch = shop
        .get_with("partner", "/v2/availability?ids=p-1,p-999999", &KEY)
        .await;
    let states: Vec<&str> = batch.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["status"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["found", "not_found"]);
}
