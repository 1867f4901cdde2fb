//! The tv's own: a hero and rows, each row for itself, and what to fetch ahead.

use services_mock::{Backend, Fault};

use crate::support::Shop;

const PAGE: &str = "/v1/titles/p-1";

#[tokio::test]
async fn a_title_fills_a_big_screen() {
    let shop = Shop::open().await;
    let page = shop.get("tv", PAGE).await;
    assert_eq!(
        page.members("title"),
        [
            "id",
            "kind",
            "name",
            "subtitle",
            "description",
            "backdrop",
            "genres",
            "seasons",
            "maturity",
            "cast",
            "director"
        ]
    );
    let backdrop = page.body["title"]["backdrop"].as_str().unwrap();
    assert!(backdrop.ends_with("w=1920"), "{backdrop}");
    assert_eq!(page.members("rating"), ["average", "count"]);
    let lost = Fault::status(500).on("/products/p-1/similar");
    shop.loses_only(("tv", PAGE), &[], "similar", (Backend::Product, lost))
        .await;
}

#[tokio::test]
async fn what_has_the_focus_can_be_fetched_ahead() {
    let shop = Shop::open().await;
    let browse = shop.get("tv", "/v1/browse").await;
    let rows = browse.body["rows"].as_array().unwrap();
    let tiles = rows.iter().map(|row| &row["items"][0]);
    for tile in tiles.chain([&browse.body["hero"]]) {
        let title = shop.get("tv", tile["focus"].as_str().unwrap()).await;
        assert_eq!(title.body["title"]["id"], tile["id"]);
    }
}

#[tokio::test]
async fn a_row_that_fails_is_left_out_and_told() {
    let shop = Shop::open().await;
    let whole = shop.get("tv", "/v1/browse").await;
    let rows = whole.body["rows"].as_array().unwrap();
    let lost = rows[0]["id"].as_str().unwrap();
    let fault = Fault::status(503).on(format!("/collections/{lost}"));
    let mocks = shop.fleet.mocks();
    mocks.set_fault(Backend::Product, fault).unwrap();
    let page = shop.get("tv", "/v1/browse").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.section(&format!("rows.{lost}"))["state"], "missing");
    assert_eq!(page.body["rows"].as_array().unwrap()[..], rows[1..]);
    let sections = page.header("sections");
    assert!(
        sections.contains(&format!("rows.{lost}=missing")),
        "{sections}"
    );
    // Without its hero there is no screen.
    mocks.clear_faults(None);
    let fault = Fault::status(503).on("/collections/featured");
    mocks.set_fault(Backend::Product, fault).unwrap();
    assert_eq!(shop.get("tv", "/v1/browse").await.status, 503);
}
