//! What is selected, what is fetched, and what is told of it.

use super::*;

#[tokio::test]
async fn what_nobody_asked_for_is_not_fetched() {
    let door = Door::production();
    let asked = door
        .query("{ shelfPage(id: 1) { __typename book { title } } }")
        .await;
    assert_eq!(asked.data()["shelfPage"]["book"]["title"], "T");
    assert_eq!((door.fetches.of(BOOK), door.fetches.of(NOTES)), (1, 0));
    let only = json!({"shelfPage.book": {"state": "fresh", "source": "library"}});
    assert_eq!(asked.body["extensions"]["sections"], only);
    assert_eq!(asked.headers["sections"], "shelf_page.book=fresh");
    assert_eq!(asked.headers[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn fragments_are_looked_through() {
    let door = Door::production();
    let asked = door
        .query(
            "query { shelfPage(id: 1) { ...A ... { ... on ShelfPage { rows { title } } } } }
             fragment A on ShelfPage { ...B } fragment B on ShelfPage { marginNotes { pages } }",
        )
        .await;
    assert_eq!(asked.data()["shelfPage"]["marginNotes"]["pages"], 9);
    assert_eq!(
        asked.data()["shelfPage"]["rows"].as_array().unwrap().len(),
        2
    );
    assert_eq!(door.fetches.of(NOTES), 1);
    let sections = asked.body["extensions"]["sections"].as_object().unwrap();
    // The required section was fetched, but nobody asked to see it.
    assert_eq!(
        sections.keys().collect::<Vec<_>>(),
        ["shelfPage.marginNotes", "shelfPage.rows"]
    );
}

#[tokio::test]
async fn include_and_skip_decide_with_values_and_defaults() {
    let document = "query($v: Boolean! = true) { shelfPage(id: 1) {
        book { title } marginNotes @include(if: $v) { title } rows @skip(if: true) { title } } }";
    for (variables, fetched) in [
        (json!({"v": false}), 0),
        (json!({"v": true}), 1),
        (json!({}), 1),
    ] {
        let door = Door::production();
        let asked = door
            .ask(json!({"query": document, "variables": variables}))
            .await;
        assert_eq!(door.fetches.of(NOTES), fetched, "{variables}");
        let page = asked.data()["shelfPage"].as_object().unwrap();
        assert_eq!(page.contains_key("marginNotes"), fetched == 1);
        assert_eq!(door.fetches.of(BOOK), 1, "no row was asked for");
    }
}

#[tokio::test]
async fn every_alias_is_told_of_its_section() {
    let door = Door::production();
    let asked = door
        .query("{ p: shelfPage(id: \"thin\") { one: marginNotes { title } two: marginNotes { pages } } }")
        .await;
    assert_eq!(asked.body["data"], json!({"p": {"one": null, "two": null}}));
    assert_eq!(door.fetches.of(NOTES), 1);
    let missing =
        json!({"state": "missing", "reason": "timeout", "source": "library", "retryAfterMs": 5000});
    let sections = &asked.body["extensions"]["sections"];
    assert_eq!(sections, &json!({"p.one": missing, "p.two": missing}));
    let paths: Vec<_> = asked.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["path"])
        .collect();
    assert_eq!(paths, [&json!(["p", "one"]), &json!(["p", "two"])]);
}

#[tokio::test]
async fn a_missing_section_is_null_with_an_error_and_one_that_does_not_apply_is_only_null() {
    let door = Door::production();
    let asked = door
        .query(
            "{ shelfPage(id: \"thin\") { book { title } marginNotes { title } mine { title } } }",
        )
        .await;
    assert_eq!(asked.status, 200);
    let page = &asked.body["data"]["shelfPage"];
    assert_eq!(page["book"]["title"], "T");
    assert!(page["marginNotes"].is_null() && page["mine"].is_null());
    let errors = asked.body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["path"], json!(["shelfPage", "marginNotes"]));
    assert!(
        asked.failure.is_none(),
        "a missing section is told in the log's sections"
    );
    assert_eq!(errors[0]["message"], codes::TIMEOUT.meaning());
    let id = door.cx.request_id().as_str();
    let told = json!({"code": "timeout", "requestId": id, "retryAfterMs": 5000});
    assert_eq!(errors[0]["extensions"], told);
    let sections = asked.body["extensions"]["sections"].as_object().unwrap();
    assert!(!sections.contains_key("shelfPage.mine"));
    assert_eq!(
        asked.headers["sections"],
        "shelf_page.book=fresh, shelf_page.margin_notes=missing"
    );
}

#[tokio::test]
async fn a_failed_screen_is_null_and_its_siblings_stand() {
    let door = Door::production();
    let asked = door
        .query("{ a: shelfPage(id: \"gone\") { book { title } } b: shelfPage(id: 1) { book { title } } }")
        .await;
    assert_eq!(asked.status, 200);
    assert_eq!(
        asked.body["data"],
        json!({"a": null, "b": {"book": {"title": "T"}}})
    );
    let errors = asked.body["errors"].as_array().unwrap();
    assert_eq!((errors.len(), &errors[0]["path"]), (1, &json!(["a"])));
    assert_eq!(errors[0]["extensions"]["code"], "circuit_open");
    assert_eq!(errors[0]["extensions"]["retryAfterMs"], 8000);
    let logged = asked.failure.as_ref().unwrap();
    assert_eq!(logged.cause(), Some("library: host db-1 refused"));
    assert!(!asked.body.to_string().contains("db-1"));
}

#[tokio::test]
async fn below_lists_and_of_many_rows_the_worst_state_is_told() {
    let door = Door::production();
    let asked = door
        .query("{ room { shelves { page { rows { title } } } } }")
        .await;
    let shelves = &asked.body["data"]["room"]["shelves"];
    assert_eq!(shelves[0]["page"]["rows"].as_array().unwrap().len(), 2);
    assert_eq!(shelves[1]["page"]["rows"].as_array().unwrap().len(), 1);
    let told = &asked.body["extensions"]["sections"]["room.shelves.page.rows"];
    assert_eq!(
        (&told["state"], &told["reason"]),
        (&json!("missing"), &json!("bad_response"))
    );
    let path = json!(["room", "shelves", 1, "page", "rows"]);
    assert_eq!(asked.body["errors"][0]["path"], path);
}

#[tokio::test]
async fn nothing_of_a_resolver_leaks_and_an_argument_is_the_clients() {
    let door = Door::production();
    let asked = door.query("{ leaky strict }").await;
    // The library leaves out the field of a `Result` that failed: one more reason to return `Option`.
    assert_eq!(asked.body["data"], json!({"strict": null}));
    assert!(!asked.body.to_string().contains("db-1"));
    let mut found: Vec<_> = asked.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["extensions"]["code"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, ["internal", "unauthenticated"]);
    let asked = door.query("{ tiny(n: 12) }").await;
    assert_eq!(
        asked.body["errors"][0]["extensions"]["code"],
        "invalid_request"
    );
    assert!(
        asked.body["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("below ten")
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_is_finished_though_the_client_hangs_up() {
    let door = Door::production();
    let hung_up = door.query("mutation { lend(id: 1) }");
    assert!(
        tokio::time::timeout(Duration::from_millis(10), hung_up)
            .await
            .is_err()
    );
    let tasks = &door.cx.shared().tasks;
    tasks.close();
    tasks.wait().await;
    assert_eq!(door.fetches.of(WRITES), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_says_why() {
    let door = Door::production();
    let asked = door.query("mutation { lend(id: 1) }").await;
    assert_eq!(asked.data(), &json!({"lend": true}));
    let asked = door.query("mutation { lend(id: \"taken\") }").await;
    assert_eq!(asked.body["errors"][0]["extensions"]["code"], "in_progress");
    assert_eq!(asked.body["errors"][0]["message"], "It is being lent.");
    assert!(!asked.body.to_string().contains("row 7"));
}

#[tokio::test]
async fn a_missing_section_keeps_the_code_of_its_domain() {
    let door = Door::production();
    let asked = door
        .query("{ shelfPage(id: \"lent\") { book { title } marginNotes { title } } }")
        .await;
    assert_eq!(asked.status, 200);
    assert_eq!(asked.body["errors"][0]["message"], "Lent out.");
    assert_eq!(asked.body["errors"][0]["extensions"]["code"], "lent_out");
    let section = &asked.body["extensions"]["sections"]["shelfPage.marginNotes"];
    assert_eq!(section["reason"], "bad_response", "a closed set");
    assert!(section.get("told").is_none());
}

#[tokio::test]
async fn a_mistake_is_told_once_and_not_thousands_of_times() {
    let door = Door::production();
    let told = async |document: &str| {
        let asked = door.query(document).await;
        asked.body["errors"].as_array().unwrap().len()
    };
    // The library walks a document several times.
    assert_eq!(told("subscription { odd }").await, 1);
    assert_eq!(told("{ odd }").await, 1);
    assert_eq!(told("{ odd even }").await, 2);
    let many: Vec<String> = (0..200).map(|n| format!("x{n}")).collect();
    assert_eq!(told(&format!("{{ {} }}", many.join(" "))).await, 20);
}

#[tokio::test]
async fn a_variable_that_must_be_there_is_missed_before_anything_is_done() {
    let document = "query($id: ID!, $more: Boolean! = false) {
        shelfPage(id: $id) { book { title } marginNotes @include(if: $more) { title } } }";
    let door = Door::production();
    for variables in [
        json!({}),
        json!({"id": null}),
        json!({"id": "1", "more": null}),
    ] {
        let asked = door.ask(json!({"query": document, "variables": variables}));
        assert!(
            asked.await.refusal().contains("has no value"),
            "{variables}"
        );
    }
    assert_eq!(door.fetches.of(BOOK), 0);
    let good = json!({"query": document, "variables": {"id": "1"}});
    assert_eq!(
        door.ask(good).await.data()["shelfPage"]["book"]["title"],
        "T"
    );
}
