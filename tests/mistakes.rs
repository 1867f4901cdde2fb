//! Every mistake in a request is told at its own place.

use crate::screens::enrolled;
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

#[tokio::test]
async fn no_screen_reads_past_a_member_it_does_not_know() {
    let shop = Shop::open().await;
    let rest = enrolled().iter().filter(|screen| screen.document.is_none());
    for screen in rest {
        let more = if screen.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{more}odd=1&fields=a&fields=b", screen.path);
        let credential = screen.credential(shop.fleet.mocks(), Some("ada")).unwrap();
        let headers = [(credential.0, credential.1.as_str())];
        let answer = shop.get_with(screen.gateway, &path, &headers).await;
        assert_eq!(answer.status, 422, "{path}");
        let errors = answer.body["errors"].as_array().unwrap().iter();
        let told: Vec<_> = errors.map(|e| e["pointer"].as_str().unwrap()).collect();
        assert!(told.contains(&"/query/odd"), "{path}: {told:?}");
    }
}
