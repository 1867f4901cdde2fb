//! Selections, fetched sections, and reported states.

use super::*;

#[tokio::test]
async fn sections_that_are_not_selected_are_not_fetched() {
    let endpoint = TestEndpoint::production();
    let response = endpoint
        .query("{ shelfPage(id: 1) { __typename book { title } } }")
        .await;
    assert_eq!(response.data()["shelfPage"]["book"]["title"], "T");
    assert_eq!(
        (endpoint.fetches.count(BOOK), endpoint.fetches.count(NOTES)),
        (1, 0)
    );
    let only = json!({"shelfPage.book": {"state": "fresh", "source": "library"}});
    assert_eq!(response.body["extensions"]["sections"], only);
    assert_eq!(response.headers["sections"], "shelf_page.book=fresh");
    assert_eq!(response.headers[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn fragments_are_expanded() {
    let endpoint = TestEndpoint::production();
    let response = endpoint
        .query(
            "query { shelfPage(id: 1) { ...A ... { ... on ShelfPage { rows { title } } } } }
             fragment A on ShelfPage { ...B } fragment B on ShelfPage { marginNotes { pages } }",
        )
        .await;
    assert_eq!(response.data()["shelfPage"]["marginNotes"]["pages"], 9);
    assert_eq!(
        response.data()["shelfPage"]["rows"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(endpoint.fetches.count(NOTES), 1);
    let sections = response.body["extensions"]["sections"].as_object().unwrap();
    // The required section was fetched, but it is not selected.
    assert_eq!(
        sections.keys().collect::<Vec<_>>(),
        ["shelfPage.marginNotes", "shelfPage.rows"]
    );
}

#[tokio::test]
async fn include_and_skip_use_values_and_defaults_of_variables() {
    let document = "query($v: Boolean! = true) { shelfPage(id: 1) {
        book { title } marginNotes @include(if: $v) { title } rows @skip(if: true) { title } } }";
    for (variables, fetched) in [
        (json!({"v": false}), 0),
        (json!({"v": true}), 1),
        (json!({}), 1),
    ] {
        let endpoint = TestEndpoint::production();
        let response = endpoint
            .send_body(json!({"query": document, "variables": variables}))
            .await;
        assert_eq!(endpoint.fetches.count(NOTES), fetched, "{variables}");
        let page = response.data()["shelfPage"].as_object().unwrap();
        assert_eq!(page.contains_key("marginNotes"), fetched == 1);
        assert_eq!(endpoint.fetches.count(BOOK), 1, "no row is selected");
    }
}

#[tokio::test]
async fn every_alias_reports_its_section() {
    let endpoint = TestEndpoint::production();
    let response = endpoint
        .query("{ p: shelfPage(id: \"thin\") { one: marginNotes { title } two: marginNotes { pages } } }")
        .await;
    assert_eq!(
        response.body["data"],
        json!({"p": {"one": null, "two": null}})
    );
    assert_eq!(endpoint.fetches.count(NOTES), 1);
    let missing =
        json!({"state": "missing", "reason": "timeout", "source": "library", "retryAfterMs": 5000});
    let sections = &response.body["extensions"]["sections"];
    assert_eq!(sections, &json!({"p.one": missing, "p.two": missing}));
    let paths: Vec<_> = response.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["path"])
        .collect();
    assert_eq!(paths, [&json!(["p", "one"]), &json!(["p", "two"])]);
    let locations = json!([{"line": 1, "column": 30}]);
    assert_eq!(response.body["errors"][0]["locations"], locations);
}

#[tokio::test]
async fn a_missing_section_is_null_with_an_error_and_an_inapplicable_one_without() {
    let endpoint = TestEndpoint::production();
    let response = endpoint
        .query(
            "{ shelfPage(id: \"thin\") { book { title } marginNotes { title } mine { title } } }",
        )
        .await;
    assert_eq!(response.status, 200);
    let page = &response.body["data"]["shelfPage"];
    assert_eq!(page["book"]["title"], "T");
    assert!(page["marginNotes"].is_null() && page["mine"].is_null());
    let errors = response.body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["path"], json!(["shelfPage", "marginNotes"]));
    assert!(
        response.failure.is_none(),
        "a missing section is not a failure of the request"
    );
    assert_eq!(errors[0]["message"], codes::TIMEOUT.meaning());
    let id = endpoint.cx.request_id().as_str();
    let expected = json!({"code": "timeout", "requestId": id, "retryAfterMs": 5000});
    assert_eq!(errors[0]["extensions"], expected);
    let sections = response.body["extensions"]["sections"].as_object().unwrap();
    assert!(!sections.contains_key("shelfPage.mine"));
    assert_eq!(
        response.headers["sections"],
        "shelf_page.book=fresh, shelf_page.margin_notes=missing"
    );
}

#[tokio::test]
async fn a_failed_screen_is_null_and_other_fields_are_returned() {
    let endpoint = TestEndpoint::production();
    let response = endpoint
        .query("{ a: shelfPage(id: \"gone\") { book { title } } b: shelfPage(id: 1) { book { title } } }")
        .await;
    assert_eq!(response.status, 200);
    assert_eq!(
        response.body["data"],
        json!({"a": null, "b": {"book": {"title": "T"}}})
    );
    let errors = response.body["errors"].as_array().unwrap();
    assert_eq!((errors.len(), &errors[0]["path"]), (1, &json!(["a"])));
    assert_eq!(errors[0]["extensions"]["code"], "circuit_open");
    assert_eq!(errors[0]["extensions"]["retryAfterMs"], 8000);
    let logged = response.failure.as_ref().unwrap();
    assert_eq!(logged.cause(), Some("library: host db-1 refused"));
    assert!(!response.body.to_string().contains("db-1"));
}

#[tokio::test]
async fn sections_with_one_path_report_the_worst_state() {
    let endpoint = TestEndpoint::production();
    let response = endpoint
        .query("{ room { shelves { page { rows { title } } } } }")
        .await;
    let shelves = &response.body["data"]["room"]["shelves"];
    assert_eq!(shelves[0]["page"]["rows"].as_array().unwrap().len(), 2);
    assert_eq!(shelves[1]["page"]["rows"].as_array().unwrap().len(), 1);
    let section = &response.body["extensions"]["sections"]["room.shelves.page.rows"];
    assert_eq!(
        (&section["state"], &section["reason"]),
        (&json!("missing"), &json!("bad_response"))
    );
    let path = json!(["room", "shelves", 1, "page", "rows"]);
    assert_eq!(response.body["errors"][0]["path"], path);
}

#[tokio::test]
async fn texts_of_resolvers_are_hidden_and_texts_about_arguments_are_not() {
    let endpoint = TestEndpoint::production();
    let response = endpoint.query("{ leaky strict }").await;
    assert_eq!(
        response.body["data"],
        json!({"leaky": null, "strict": null})
    );
    assert!(!response.body.to_string().contains("db-1"));
    let mut error_codes: Vec<_> = response.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["extensions"]["code"].as_str().unwrap())
        .collect();
    error_codes.sort_unstable();
    assert_eq!(error_codes, ["internal", "unauthenticated"]);
    let response = endpoint.query("{ tiny(n: 12) }").await;
    let extensions = &response.body["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "validation_failed");
    let errors = json!([{"pointer": "/variables/n", "detail": "not below ten"}]);
    assert_eq!(extensions["errors"], errors);
}

#[tokio::test(start_paused = true)]
async fn a_write_completes_after_the_client_disconnected() {
    let endpoint = TestEndpoint::production();
    let write = endpoint.query("mutation { lend(id: 1) }");
    assert!(
        tokio::time::timeout(Duration::from_millis(10), write)
            .await
            .is_err()
    );
    let tasks = &endpoint.tasks;
    tasks.close();
    tasks.wait().await;
    assert_eq!(endpoint.fetches.count(WRITES), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_returns_its_reason() {
    let endpoint = TestEndpoint::production();
    let response = endpoint.query("mutation { lend(id: 1) }").await;
    assert_eq!(response.data(), &json!({"lend": true}));
    let response = endpoint.query("mutation { lend(id: \"taken\") }").await;
    assert_eq!(
        response.body["errors"][0]["extensions"]["code"],
        "in_progress"
    );
    assert_eq!(
        response.body["errors"][0]["message"],
        "The loan is in progress."
    );
    assert!(!response.body.to_string().contains("row 7"));
}

#[tokio::test]
async fn a_missing_section_reports_the_code_of_its_domain() {
    let endpoint = TestEndpoint::production();
    let response = endpoint
        .query("{ shelfPage(id: \"loaned\") { book { title } marginNotes { title } } }")
        .await;
    assert_eq!(response.status, 200);
    assert_eq!(response.body["errors"][0]["message"], "On loan.");
    assert_eq!(response.body["errors"][0]["extensions"]["code"], "on_loan");
    let section = &response.body["extensions"]["sections"]["shelfPage.marginNotes"];
    assert_eq!(
        section["reason"], "bad_response",
        "reasons are a closed set"
    );
    assert!(section.get("publicError").is_none());
}

#[tokio::test]
async fn each_error_is_reported_once_and_their_number_is_limited() {
    let endpoint = TestEndpoint::production();
    let error_count = async |document: &str| {
        let response = endpoint.query(document).await;
        response.body["errors"].as_array().unwrap().len()
    };
    // async-graphql visits a document several times.
    assert_eq!(error_count("subscription { odd }").await, 1);
    assert_eq!(error_count("{ odd }").await, 1);
    assert_eq!(error_count("{ odd even }").await, 2);
    let many: Vec<String> = (0..200).map(|n| format!("x{n}")).collect();
    assert_eq!(error_count(&format!("{{ {} }}", many.join(" "))).await, 20);
}

#[tokio::test]
async fn a_missing_variable_is_an_error_before_execution() {
    let document = "query($id: ID!, $more: Boolean! = false) {
        shelfPage(id: $id) { book { title } marginNotes @include(if: $more) { title } } }";
    let endpoint = TestEndpoint::production();
    for (variables, name) in [
        (json!({}), "id"),
        (json!({"id": null}), "id"),
        (json!({"id": "1", "more": null}), "more"),
    ] {
        let response = endpoint.send_body(json!({"query": document, "variables": variables}));
        let response = response.await;
        assert!(response.error_text().contains(name), "{variables}");
    }
    assert_eq!(endpoint.fetches.count(BOOK), 0);
    let valid = json!({"query": document, "variables": {"id": "1"}});
    assert_eq!(
        endpoint.send_body(valid).await.data()["shelfPage"]["book"]["title"],
        "T"
    );
}
