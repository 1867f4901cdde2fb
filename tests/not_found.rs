//! A backend that says "there is no such thing" has answered, wherever the identifier stood.

use services_mock::{Backend, Fault};

use crate::support::TestFleet;

#[tokio::test]
async fn what_is_not_there_is_told_as_such() {
    let fleet = TestFleet::start().await;
    let unknown = fleet.get("web", "/api/product-details/p-99999").await;
    assert_eq!(
        (unknown.status.as_u16(), &unknown.body["code"]),
        (404, &"not_found".into())
    );
    // The catalogue knows it; the reviews, which name it in their query, do not.
    let fault = Fault::status(404).on("/reviews");
    (fleet.running.mocks().set_fault(Backend::Review, fault)).unwrap();
    let page = fleet.get("web", "/api/product-details/p-1").await;
    assert_eq!(
        (page.status.as_u16(), &page.body["_meta"]["complete"]),
        (200, &true.into()),
        "an answer, so nothing is lacking"
    );
    assert!(page.body["reviews"].is_null());
    assert_eq!(page.section("reviews")["reason"], "not_found");
}
