//! Validation errors: every invalid member of a request is reported with a pointer.

use fleet::Callers;
use serde_json::{Value, json};

use crate::screens::all_screens;
use crate::support::{JsonResponse, TestFleet, file};

const KEY: (&str, &str) = ("x-api-key", fleet::PARTNER_KEY);

#[tokio::test]
async fn query_errors_point_to_each_parameter() {
    let fleet = TestFleet::start().await;
    for (gateway, path, pointers) in [
        ("partner", "/v2/availability", &["/query/ids"][..]),
        ("partner", "/v2/availability?ids=p-1&odd=1", &["/query/odd"]),
        (
            "web",
            "/api/search?q=&limit=x&odd=1",
            &["/query/limit", "/query/odd", "/query/q"],
        ),
    ] {
        let response = fleet.get_with(gateway, path, &[KEY][..usize::from(gateway == "partner")]);
        let response = response.await;
        assert_eq!(response.body["code"], "validation_failed", "{path}");
        assert_eq!(pointers_of(&response), pointers, "{path}");
    }
}

#[tokio::test]
async fn every_screen_rejects_unknown_parameters() {
    let fleet = TestFleet::start().await;
    let rest = all_screens()
        .iter()
        .filter(|screen| screen.document.is_none());
    for screen in rest {
        let separator = if screen.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{separator}odd=1&fields=a&fields=b", screen.path);
        let credential = screen
            .credential(fleet.running.mocks(), Some("ada"))
            .unwrap();
        let headers = [(credential.0, credential.1.as_str())];
        let response = fleet.get_with(screen.gateway, &path, &headers).await;
        assert_eq!(response.status, 422, "{path}");
        let pointers_of = pointers_of(&response);
        assert!(
            pointers_of.contains(&"/query/odd"),
            "{path}: {pointers_of:?}"
        );
    }
}

/// The path of each POST operation in a contract, without proxy routes, whose backends validate the body.
fn post_paths(contract: &Value) -> Vec<String> {
    let paths = contract["paths"].as_object().unwrap().iter();
    let endpoints =
        paths.filter(|(path, item)| item["post"].is_object() && !path.ends_with("/{path}"));
    endpoints
        .map(|(path, _)| path.replace("{id}", "p-1"))
        .collect()
}

#[tokio::test]
async fn an_endpoint_without_query_parameters_rejects_them() {
    let fleet = TestFleet::start().await;
    let credential = fleet.bearer("ada");
    let headers = [
        ("authorization", credential.as_str()),
        ("idempotency-key", "k-1"),
    ];
    let mut count = 0;
    let gateways = (fleet::GATEWAYS.iter()).filter(|g| g.callers() == Callers::People);
    for gateway in gateways.map(|g| g.name) {
        let contract = file(&format!("bffs/{gateway}/openapi.json")).unwrap();
        for path in post_paths(&serde_json::from_str(&contract).unwrap()) {
            let path_with_query = format!("{path}?odd=1&fields=a&odd=2");
            let body = json!({"query": "{ __typename }"});
            let response = fleet
                .post_with(gateway, &path_with_query, &headers, &body)
                .await;
            assert_eq!(response.status, 422, "{gateway} {path}");
            assert_eq!(
                pointers_of(&response),
                ["/query/odd", "/query/fields"],
                "{path}"
            );
            count += 1;
        }
    }
    assert!(
        count >= 5,
        "expected two checkouts, two playback endpoints and /graphql"
    );
}

#[tokio::test]
async fn graphql_arguments_follow_the_rules_of_rest_parameters() {
    let fleet = TestFleet::start().await;
    let long = "c".repeat(201);
    let query =
        format!(r#"{{ search(q: "", limit: 51, cursor: "{long}") {{ results {{ total }} }} }}"#);
    let response = fleet
        .post("web", "/graphql", &json!({"query": query}))
        .await;
    let errors = response.body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{}", response.body);
    let pointers_of = &errors[0]["extensions"];
    assert_eq!(pointers_of["code"], "validation_failed");
    let pointers = pointers_of["errors"].as_array().unwrap().iter();
    let pointers: Vec<_> = pointers.map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(
        pointers,
        ["/variables/cursor", "/variables/limit", "/variables/q"]
    );
    let calls = fleet.running.mocks().stats(services_mock::Backend::Product);
    assert_eq!(calls.calls, 0);
}

#[tokio::test]
async fn an_unknown_cursor_is_not_found() {
    let fleet = TestFleet::start().await;
    let path = "/api/search?q=harbour&cursor=odd";
    let response = fleet.get("web", path).await;
    assert_eq!(
        (response.status.as_u16(), &response.body["code"]),
        (404, &"not_found".into())
    );
    let query =
        json!({"query": r#"{ search(q: "harbour", cursor: "odd") { results { total } } }"#});
    let response = fleet.post("web", "/graphql", &query).await;
    let pointers_of = &response.body["errors"][0]["extensions"];
    assert_eq!(pointers_of["code"], "not_found", "{}", response.body);
}

#[tokio::test]
async fn an_unset_variable_uses_the_arguments_default() {
    let fleet = TestFleet::start().await;
    let query =
        "query($limit: Int) { search(q: \"harbour\", limit: $limit) { results { items { id } } } }";
    let count_results = async |variables: Value| {
        let body = json!({"query": query, "variables": variables});
        let response = fleet.post("web", "/graphql", &body).await;
        let items = &response.body["data"]["search"]["results"]["items"];
        items.as_array().unwrap().len()
    };
    assert_eq!(
        count_results(json!({})).await,
        count_results(json!({"limit": 20})).await
    );
    assert_eq!(count_results(json!({"limit": 2})).await, 2);
}

#[tokio::test]
async fn every_endpoint_accepts_the_same_json_media_types() {
    let fleet = TestFleet::start().await;
    let credential = fleet.bearer("ada");
    for (gateway, path, body) in [
        ("tv", "/v1/titles/p-1/heartbeat", r#"{"positionS": 1}"#),
        ("web", "/graphql", r#"{"query": "{ __typename }"}"#),
    ] {
        for (content_type, status) in [
            ("application/json", 200),
            ("Application/JSON; charset=\"UTF-8\"", 200),
            ("application/json; charset=utf-16", 415),
            ("text/plain", 415),
        ] {
            let url = format!("{}{path}", fleet.running.url(gateway));
            let request = fleet.http.post(url).header("content-type", content_type);
            let request = request.header("authorization", &credential).body(body);
            let response = crate::support::send(request).await;
            assert_eq!(response.status(), status, "{path} {content_type}");
        }
    }
}

/// Serde itself accepts a list with the members of a struct in their order.
#[tokio::test]
async fn a_list_is_not_accepted_as_an_object() {
    let fleet = TestFleet::start().await;
    let credential = fleet.bearer("ada");
    let headers = [
        ("authorization", credential.as_str()),
        ("idempotency-key", "k-1"),
    ];
    let card = json!(["4111111111111111", "12/30", "987"]);
    for (gateway, path, body, pointer) in [
        ("tv", "/v1/titles/p-1/heartbeat", json!([1]), ""),
        ("web", "/api/checkout", json!([card]), ""),
        ("web", "/api/checkout", json!({"card": card}), "/card"),
    ] {
        let response = fleet.post_with(gateway, path, &headers, &body).await;
        assert_eq!(response.status, 422, "{path} {body}: {}", response.body);
        assert_eq!(pointers_of(&response), [pointer], "{path} {body}");
    }
}

#[tokio::test]
async fn body_errors_point_to_each_member() {
    let fleet = TestFleet::start().await;
    let credential = fleet.bearer("ada");
    let headers = [
        ("authorization", credential.as_str()),
        ("idempotency-key", "k-1"),
    ];
    let body = json!({"odd": 1, "card": {"number": 7, "expires": 1, "cvc": [], "odd": 1}});
    let odd = ["/card/expires", "/card/odd", "/odd"];
    let card = ["/card/cvc", "/card/expiry", "/card/number"];
    for (body, pointers) in [
        (body, [card, odd].concat()),
        (json!({"card": {}}), card.to_vec()),
        (json!({}), vec!["/card"]),
    ] {
        let response = fleet.post_with("web", "/api/checkout", &headers, &body);
        let response = response.await;
        assert_eq!(response.status, 422, "{}", response.body);
        let mut pointers_of = pointers_of(&response);
        pointers_of.sort_unstable();
        let mut pointers = pointers;
        pointers.sort_unstable();
        assert_eq!(pointers_of, pointers, "{body}");
    }
}

/// The pointers in a response.
fn pointers_of(response: &JsonResponse) -> Vec<&str> {
    let errors = response.body["errors"].as_array().unwrap().iter();
    errors.map(|e| e["pointer"].as_str().unwrap()).collect()
}
