//! A 404 of a backend is a valid response: a required section gives 404, an optional one is missing.

use services_mock::{Backend, Fault};

use crate::support::TestFleet;

#[tokio::test]
async fn a_missing_entity_is_reported_as_not_found() {
    let fleet = TestFleet::start().await;
    let unknown = fleet.get("web", "/api/product-details/p-99999").await;
    assert_eq!(
        (unknown.status.as_u16(), &unknown.body["code"]),
        (404, &"not_found".into())
    );
    // The product exists, but the review backend responds 404.
    let fault = Fault::status(404).on("/reviews");
    (fleet.running.mocks().set_fault(Backend::Review, fault)).unwrap();
    let page = fleet.get("web", "/api/product-details/p-1").await;
    assert_eq!(
        (page.status.as_u16(), &page.body["_meta"]["complete"]),
        (200, &true.into()),
        "a section that does not exist is not lost"
    );
    assert!(page.body["reviews"].is_null());
    assert_eq!(page.section("reviews")["reason"], "not_found");
}
