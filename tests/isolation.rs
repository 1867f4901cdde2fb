//! Two callers never mix, and nobody passes for another.

use services_mock::Backend;

use crate::support::Shop;

#[tokio::test]
async fn callers_at_once_each_get_their_own() {
    let shop = Shop::open().await;
    let (ada, ben) = (shop.bearer("ada"), shop.bearer("ben"));
    let ada = [("authorization", ada.as_str())];
    let ben = [("authorization", ben.as_str())];
    for _ in 0..20 {
        let (a, b, nobody) = tokio::join!(
            shop.get_with("web", "/api/me", &ada),
            shop.get_with("web", "/api/me", &ben),
            shop.get("web", "/api/me"),
        );
        assert_eq!(
            (
                &a.body["profile"]["id"],
                a.header("cache-control").starts_with("private")
            ),
            (&"ada".into(), true)
        );
        assert_eq!(b.body["profile"]["id"], "ben");
        assert_eq!(
            (nobody.status.as_u16(), &nobody.body["code"]),
            (401, &"unauthenticated".into())
        );
    }
}

#[tokio::test]
async fn identity_goes_upstream_on_the_callers_own_calls_only() {
    let shop = Shop::open().await;
    let ada = shop.bearer("ada");
    let headers = [
        ("authorization", ada.as_str()),
        ("x-user-id", "root"),
        ("x-user-role", "ADMIN"),
    ];
    let page = shop
        .get_with("web", "/api/product-details/p-1", &headers)
        .await;
    assert_eq!(page.body["friends"][0]["action"], "watched");
    let seen = |backend| shop.fleet.mocks().stats(backend).last_headers;
    assert_eq!(
        seen(Backend::User).get("x-user-id").map(String::as_str),
        Some("ada")
    );
    for public in [Backend::Product, Backend::Review, Backend::Inventory] {
        let headers = seen(public);
        assert!(
            !headers.contains_key("x-user-id") && !headers.contains_key("authorization"),
            "{public}"
        );
        assert_eq!(headers.get("x-client").map(String::as_str), Some("web"));
        assert!(headers.contains_key("request-timeout") && headers.contains_key("traceparent"));
    }
}

#[tokio::test]
async fn a_bad_credential_is_refused_even_on_a_public_screen() {
    let shop = Shop::open().await;
    let mut forged = shop.bearer("ada");
    forged.truncate(forged.len() - 4);
    forged.push_str("AAAA");
    for bad in [forged.as_str(), "Bearer nonsense", "Basic YTpi"] {
        let page = shop
            .get_with("web", "/api/home", &[("authorization", bad)])
            .await;
        assert_eq!(
            (page.status.as_u16(), &page.body["code"]),
            (401, &"unauthenticated".into()),
            "{bad}"
        );
    }
}
