//! No caller gets another caller's data or identity.

use fleet::Callers;
use services_mock::{Backend, Fault};

use crate::screens::all_screens;
use crate::support::{JsonResponse, TestFleet};

#[tokio::test]
async fn concurrent_callers_get_their_own_data() {
    let fleet = TestFleet::start().await;
    let (ada, ben) = (fleet.bearer("ada"), fleet.bearer("ben"));
    let ada = [("authorization", ada.as_str())];
    let ben = [("authorization", ben.as_str())];
    for _ in 0..20 {
        let (a, b, anonymous) = tokio::join!(
            fleet.get_with("web", "/api/me", &ada),
            fleet.get_with("web", "/api/me", &ben),
            fleet.get("web", "/api/me"),
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
            (anonymous.status.as_u16(), &anonymous.body["code"]),
            (401, &"unauthenticated".into())
        );
    }
}

#[tokio::test]
async fn only_calls_for_the_callers_data_carry_an_identity() {
    let fleet = TestFleet::start().await;
    let ada = fleet.bearer("ada");
    let headers = [
        ("authorization", ada.as_str()),
        ("x-user-id", "root"),
        ("x-user-role", "ADMIN"),
    ];
    let page = fleet
        .get_with("web", "/api/product-details/p-1", &headers)
        .await;
    assert_eq!(page.body["friends"][0]["action"], "watched");
    let last_headers = |backend| fleet.running.mocks().stats(backend).last_headers;
    assert_eq!(
        last_headers(Backend::User)
            .get("x-user-id")
            .map(String::as_str),
        Some("ada")
    );
    for public in [Backend::Product, Backend::Review, Backend::Inventory] {
        let headers = last_headers(public);
        assert!(
            !headers.contains_key("x-user-id") && !headers.contains_key("authorization"),
            "{public}"
        );
        assert_eq!(headers.get("x-client").map(String::as_str), Some("web"));
        assert!(headers.contains_key("request-timeout") && headers.contains_key("traceparent"));
    }
}

#[tokio::test]
async fn an_invalid_credential_is_rejected_on_public_screens_too() {
    let fleet = TestFleet::start().await;
    let mut forged = fleet.bearer("ada");
    forged.truncate(forged.len() - 4);
    forged.push_str("AAAA");
    for credential in [forged.as_str(), "Bearer nonsense", "Basic YTpi"] {
        let page = fleet
            .get_with("web", "/api/home", &[("authorization", credential)])
            .await;
        assert_eq!(
            (page.status.as_u16(), &page.body["code"]),
            (401, &"unauthenticated".into()),
            "{credential}"
        );
    }
}

/// `Cache-Control` and `Vary` of a response.
fn cache_headers(page: &JsonResponse) -> (&str, &str) {
    assert_eq!(page.status, 200);
    (page.header("cache-control"), page.header("vary"))
}

#[tokio::test]
async fn responses_that_depend_on_the_caller_vary_by_authorization() {
    const PAGE: &str = "/api/product-details/p-1";
    let fleet = TestFleet::start().await;
    let ada = fleet.bearer("ada");
    let ada = [("authorization", ada.as_str())];
    // The anonymous page has no friends. After a sign-in, the browser's cache must not return it.
    let anonymous = fleet.get("web", PAGE).await;
    let (cache_control, vary) = cache_headers(&anonymous);
    assert!(cache_control.starts_with("public") && vary.contains("authorization"));
    let signed_in = fleet.get_with("web", PAGE, &ada).await;
    let (cache_control, vary) = cache_headers(&signed_in);
    assert!(cache_control.starts_with("private") && vary.contains("authorization"));
    // Without personal sections, the page is public.
    let public = format!("{PAGE}?fields=product,reviews");
    let (anonymous, signed_in) = (
        fleet.get("web", &public),
        fleet.get_with("web", &public, &ada),
    );
    for page in [anonymous.await, signed_in.await] {
        let (cache_control, vary) = cache_headers(&page);
        assert!(cache_control.starts_with("public") && !vary.contains("authorization"));
    }
    // A 403 for one section is personal too.
    let mocks = fleet.running.mocks();
    mocks.set_fault(Backend::User, Fault::status(403)).unwrap();
    let forbidden = fleet.get_with("web", PAGE, &ada).await;
    assert_eq!(forbidden.section("friends")["reason"], "forbidden");
    let (cache_control, vary) = cache_headers(&forbidden);
    assert!(cache_control.starts_with("private") && vary.contains("authorization"));
}

#[tokio::test]
async fn partner_responses_are_private() {
    let fleet = TestFleet::start().await;
    let partners = all_screens().iter();
    for screen in partners.filter(|screen| screen.callers() == Callers::Partners) {
        let page = screen.send(&fleet, &[]).await;
        assert_eq!(page.status, 200);
        let cache_control = page.header("cache-control");
        assert!(
            cache_control.starts_with("private"),
            "{screen:?}: {cache_control}"
        );
        assert!(page.header("vary").contains("x-api-key"), "{screen:?}");
    }
}
