//! Two callers never mix, and nobody passes for another.

use fleet::Callers;
use services_mock::{Backend, Fault};

use crate::screens::all_screens;
use crate::support::{JsonResponse, TestFleet};

#[tokio::test]
async fn callers_at_once_each_get_their_own() {
    let fleet = TestFleet::start().await;
    let (ada, ben) = (fleet.bearer("ada"), fleet.bearer("ben"));
    let ada = [("authorization", ada.as_str())];
    let ben = [("authorization", ben.as_str())];
    for _ in 0..20 {
        let (a, b, nobody) = tokio::join!(
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
            (nobody.status.as_u16(), &nobody.body["code"]),
            (401, &"unauthenticated".into())
        );
    }
}

#[tokio::test]
async fn identity_goes_upstream_on_the_callers_own_calls_only() {
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
    let seen = |backend| fleet.running.mocks().stats(backend).last_headers;
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
    let fleet = TestFleet::start().await;
    let mut forged = fleet.bearer("ada");
    forged.truncate(forged.len() - 4);
    forged.push_str("AAAA");
    for bad in [forged.as_str(), "Bearer nonsense", "Basic YTpi"] {
        let page = fleet
            .get_with("web", "/api/home", &[("authorization", bad)])
            .await;
        assert_eq!(
            (page.status.as_u16(), &page.body["code"]),
            (401, &"unauthenticated".into()),
            "{bad}"
        );
    }
}

/// `Cache-Control` and `Vary` of an answer.
fn kept_by(page: &JsonResponse) -> (&str, &str) {
    assert_eq!(page.status, 200);
    (page.header("cache-control"), page.header("vary"))
}

#[tokio::test]
async fn caches_tell_apart_what_differs_by_who_asks() {
    const PAGE: &str = "/api/product-details/p-1";
    let fleet = TestFleet::start().await;
    let ada = fleet.bearer("ada");
    let ada = [("authorization", ada.as_str())];
    // Nobody's page has no friends; whoever signs in must not be shown it out of the browser's cache.
    let nobody = fleet.get("web", PAGE).await;
    let (control, vary) = kept_by(&nobody);
    assert!(control.starts_with("public") && vary.contains("authorization"));
    let signed_in = fleet.get_with("web", PAGE, &ada).await;
    let (control, vary) = kept_by(&signed_in);
    assert!(control.starts_with("private") && vary.contains("authorization"));
    // Without what is personal it is everybody's.
    let public = format!("{PAGE}?fields=product,reviews");
    let (nobody, signed_in) = (
        fleet.get("web", &public),
        fleet.get_with("web", &public, &ada),
    );
    for page in [nobody.await, signed_in.await] {
        let (control, vary) = kept_by(&page);
        assert!(control.starts_with("public") && !vary.contains("authorization"));
    }
    // That somebody may not see a thing is theirs too.
    let mocks = fleet.running.mocks();
    mocks.set_fault(Backend::User, Fault::status(403)).unwrap();
    let refused = fleet.get_with("web", PAGE, &ada).await;
    assert_eq!(refused.section("friends")["reason"], "forbidden");
    let (control, vary) = kept_by(&refused);
    assert!(control.starts_with("private") && vary.contains("authorization"));
}

#[tokio::test]
async fn what_needs_a_credential_is_in_no_shared_cache() {
    let fleet = TestFleet::start().await;
    let partners = all_screens().iter();
    for screen in partners.filter(|screen| screen.callers() == Callers::Partners) {
        let page = screen.ask(&fleet, &[]).await;
        assert_eq!(page.status, 200);
        let control = page.header("cache-control");
        assert!(control.starts_with("private"), "{screen:?}: {control}");
        assert!(page.header("vary").contains("x-api-key"), "{screen:?}");
    }
}
