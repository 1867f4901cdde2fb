//! The public backends: products, reviews, availability.

use super::*;

#[tokio::test(start_paused = true)]
async fn products_by_page_cover_the_catalogue_once() {
    let mocks = mocks();
    let mut ids = std::collections::BTreeSet::new();
    for page in 1..=4 {
        let response = get(
            &mocks,
            Backend::Product,
            &format!("/products?page={page}&perPage=100"),
        )
        .await
        .json();
        assert_eq!(
            (&response["total"], &response["page"]),
            (&Value::from(360), &Value::from(page))
        );
        ids.extend(
            texts(&response, "items", "id")
                .into_iter()
                .map(str::to_owned),
        );
    }
    assert_eq!(ids.len(), 360);
    assert_eq!(
        get(&mocks, Backend::Product, "/products?perPage=101")
            .await
            .status,
        400
    );
    assert_eq!(
        get(&mocks, Backend::Product, "/products?page=x")
            .await
            .status,
        400
    );
    let horror = get(
        &mocks,
        Backend::Product,
        "/products?category=horror&sort=-year",
    )
    .await
    .json();
    let years: Vec<_> = horror["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["year"].as_u64().unwrap())
        .collect();
    assert_eq!(horror["total"], 30);
    assert!(years.windows(2).all(|w| w[0] >= w[1]));
}

#[tokio::test(start_paused = true)]
async fn batches_list_unknown_ids() {
    let mocks = mocks();
    let response = get(&mocks, Backend::Product, "/products?ids=p-3,p-999,p-1")
        .await
        .json();
    assert_eq!(texts(&response, "items", "id"), ["p-3", "p-1"]);
    assert_eq!(response["notFound"], serde_json::json!(["p-999"]));
    let too_many: Vec<String> = (1..=101).map(|n| format!("p-{n}")).collect();
    let too_many = too_many.join(",");
    for (backend, path) in [
        (Backend::Product, format!("/products?ids={too_many}")),
        (Backend::Review, format!("/reviews/summary?ids={too_many}")),
        (
            Backend::Inventory,
            format!("/availability?region=DE&ids={too_many}"),
        ),
    ] {
        assert_eq!(get(&mocks, backend, &path).await.status, 400, "{backend}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_covers_a_collection_once() {
    let mocks = mocks();
    let rows = get(&mocks, Backend::Product, "/collections").await.json();
    assert_eq!(texts(&rows, "items", "id")[0], "featured");
    let (mut cursor, mut ids) = (String::new(), Vec::new());
    loop {
        let path = format!("/collections/new-releases?limit=7&cursor={cursor}");
        let response = get(&mocks, Backend::Product, &path).await.json();
        ids.extend(
            texts(&response, "items", "id")
                .into_iter()
                .map(str::to_owned),
        );
        match response["nextCursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert!(ids.len() > 7 && distinct.len() == ids.len());
    assert_eq!(
        get(&mocks, Backend::Product, "/collections/nope")
            .await
            .status,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn search_and_suggestions() {
    let mocks = mocks();
    let response = get(&mocks, Backend::Product, "/search?q=quiet%20harb")
        .await
        .json();
    assert_eq!(texts(&response, "items", "id"), ["p-1"]);
    let many = get(&mocks, Backend::Product, "/search?q=harbour&limit=5")
        .await
        .json();
    assert!(many["total"].as_u64().unwrap() > 5 && many["nextCursor"].is_string());
    assert_eq!(
        get(&mocks, Backend::Product, "/search?q=").await.json()["total"],
        0
    );
    let grid = get(&mocks, Backend::Product, "/suggestions?prefix=ha&limit=3")
        .await
        .json();
    assert_eq!(grid["items"].as_array().unwrap().len(), 3);
    assert_eq!(grid["nextLetters"], serde_json::json!(["r"]));
    let similar = get(&mocks, Backend::Product, "/products/p-1/similar?limit=4")
        .await
        .json();
    assert!(!texts(&similar, "items", "id").contains(&"p-1"));
}

#[tokio::test(start_paused = true)]
async fn the_first_product_has_37_reviews_and_accepts_another() {
    let mocks = mocks();
    let response = get(&mocks, Backend::Review, "/reviews?productId=p-1&limit=10").await;
    assert_eq!(response.header("cache-control"), "public, max-age=30");
    let list = response.json();
    assert_eq!(
        (&list["average"], &list["count"]),
        (&Value::from(4.2), &Value::from(37))
    );
    assert_eq!(list["items"].as_array().unwrap().len(), 10);
    let review = r#"{"productId":"p-1","rating":5,"title":"Yes","text":"Again!"}"#;
    assert_eq!(
        call(&mocks, Backend::Review, "POST /reviews", &[], review)
            .await
            .status,
        401
    );
    let ada = [("x-user-id", "ada")];
    let posted = call(&mocks, Backend::Review, "POST /reviews", &ada, review).await;
    assert_eq!(
        (posted.status.as_u16(), &posted.json()["author"]["name"]),
        (201, &Value::from("Ada Lovelace"))
    );
    let invalid = review.replace('5', "6");
    assert_eq!(
        call(&mocks, Backend::Review, "POST /reviews", &ada, &invalid)
            .await
            .status,
        422
    );
    assert_eq!(
        call(&mocks, Backend::Review, "POST /reviews", &ada, "{")
            .await
            .status,
        400
    );
    let summary = get(&mocks, Backend::Review, "/reviews/summary?ids=p-1,p-999")
        .await
        .json();
    assert_eq!(
        (&summary["items"][0]["count"], &summary["notFound"][0]),
        (&Value::from(38), &Value::from("p-999"))
    );
    mocks.reset();
    let summary = get(&mocks, Backend::Review, "/reviews/summary?ids=p-1")
        .await
        .json();
    assert_eq!(summary["items"][0]["count"], 37);
}

#[tokio::test(start_paused = true)]
async fn availability_depends_on_the_region() {
    let mocks = mocks();
    let de = get(&mocks, Backend::Inventory, "/availability/p-1?region=DE").await;
    assert_eq!(de.header("cache-control"), "public, max-age=10");
    let de = de.json();
    assert_eq!(texts(&de, "offers", "kind"), ["buy", "rent", "stream"]);
    let gb = get(
        &mocks,
        Backend::Inventory,
        "/availability?ids=p-1,p-999&region=GB",
    )
    .await
    .json();
    assert_eq!(gb["items"][0]["offers"][0]["price"]["currency"], "GBP");
    assert_eq!(gb["notFound"], serde_json::json!(["p-999"]));
    assert_eq!(
        get(&mocks, Backend::Inventory, "/availability/p-1?region=XX")
            .await
            .status,
        400
    );
    assert_eq!(
        get(&mocks, Backend::Inventory, "/availability/p-1")
            .await
            .status,
        400
    );
    assert_eq!(
        get(&mocks, Backend::Inventory, "/availability/p-999?region=DE")
            .await
            .status,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn an_unsupported_method_is_405() {
    let response = call(&mocks(), Backend::Product, "DELETE /products/p-1", &[], "").await;
    assert_eq!(
        (response.status.as_u16(), &response.json()["error"]),
        (405, &Value::from("method_not_allowed"))
    );
    assert_eq!(response.header("allow"), "GET,HEAD");
    assert_eq!(response.header("date"), "Mon, 23 Nov 2026 10:00:00 GMT");
}
