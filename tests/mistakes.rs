//! Every mistake in a request is told at its own place.

use crate::support::Shop;

const KEY: (&str, &str) = ("x-api-key", fleet::PARTNER_KEY);

#[tokio::test]
async fn a_query_is_pointed_into_member_by_member() {
    let shop = Shop::open().await;
    for (gateway, path, pointers) in [
        ("partner", "/v2/availability", &["/query/ids"][..]),
        ("partner", "/v2/availability?ids=p-1&odd=1", &["/query/odd"]),
        (
            "web",
            "/api/search?q=&limit=x&odd=1",
            &["/query/limit", "/query/odd", "/query/q"],
        ),
    ] {
        let answer = shop.get_with(gateway, path, &[KEY][..usize::from(gateway == "partner")]);
        let answer = answer.await;
        assert_eq!(answer.body["code"], "validation_failed", "{path}");
        let errors = answer.body["errors"].as_array().unwrap().iter();
        let told: Vec<_> = errors.map(|e| e["pointer"].as_str().unwrap()).collect();
        assert_eq!(told, pointers, "{path}");
    }
}
