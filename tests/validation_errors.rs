//! Every mistake in a request is told at its own place.

use fleet::Callers;
use serde_json::{Value, json};

use crate::screens::all_screens;
use crate::support::{JsonResponse, TestFleet, file};

const KEY: (&str, &str) = ("x-api-key", fleet::PARTNER_KEY);

#[tokio::test]
async fn a_query_is_pointed_into_member_by_member() {
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
        assert_eq!(told(&response), pointers, "{path}");
    }
}

#[tokio::test]
async fn no_screen_reads_past_a_member_it_does_not_know() {
    let fleet = TestFleet::start().await;
    let rest = all_screens()
        .iter()
        .filter(|screen| screen.document.is_none());
    for screen in rest {
        let more = if screen.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{more}odd=1&fields=a&fields=b", screen.path);
        let credential = screen
            .credential(fleet.running.mocks(), Some("ada"))
            .unwrap();
        let headers = [(credential.0, credential.1.as_str())];
        let response = fleet.get_with(screen.gateway, &path, &headers).await;
        assert_eq!(response.status, 422, "{path}");
        let told = told(&response);
        assert!(told.contains(&"/query/odd"), "{path}: {told:?}");
    }
}

/// Where each operation that takes a body is, by the contract; those that pass requests on take what their backends take.
fn posted(contract: &Value) -> Vec<String> {
    let paths = contract["paths"].as_object().unwrap().iter();
    let ours = paths.filter(|(path, item)| item["post"].is_object() && !path.ends_with("/{path}"));
    ours.map(|(path, _)| path.replace("{id}", "p-1")).collect()
}

#[tokio::test]
async fn a_door_that_reads_no_query_takes_none() {
    let fleet = TestFleet::start().await;
    let credential = fleet.bearer("ada");
    let headers = [
        ("authorization", credential.as_str()),
        ("idempotency-key", "k-1"),
    ];
    let mut doors = 0;
    let people = (fleet::GATEWAYS.iter()).filter(|g| g.callers() == Callers::People);
    for gateway in people.map(|g| g.name) {
        let contract = file(&format!("bffs/{gateway}/openapi.json")).unwrap();
        for path in posted(&serde_json::from_str(&contract).unwrap()) {
            let asked = format!("{path}?odd=1&fields=a&odd=2");
            let body = json!({"query": "{ __typename }"});
            let response = fleet.post_with(gateway, &asked, &headers, &body).await;
            assert_eq!(response.status, 422, "{gateway} {path}");
            assert_eq!(told(&response), ["/query/odd", "/query/fields"], "{path}");
            doors += 1;
        }
    }
    assert!(doors >= 5, "two checkouts, two ways to play, and /graphql");
}

#[tokio::test]
async fn arguments_keep_the_rules_of_the_query_they_are_over_rest() {
    let fleet = TestFleet::start().await;
    let long = "c".repeat(201);
    let query =
        format!(r#"{{ search(q: "", limit: 51, cursor: "{long}") {{ results {{ total }} }} }}"#);
    let response = fleet
        .post("web", "/graphql", &json!({"query": query}))
        .await;
    let errors = response.body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{}", response.body);
    let told = &errors[0]["extensions"];
    assert_eq!(told["code"], "validation_failed");
    let pointers = told["errors"].as_array().unwrap().iter();
    let pointers: Vec<_> = pointers.map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(
        pointers,
        ["/variables/cursor", "/variables/limit", "/variables/q"]
    );
    let calls = fleet.running.mocks().stats(services_mock::Backend::Product);
    assert_eq!(calls.calls, 0);
}

#[tokio::test]
async fn a_cursor_that_is_none_is_the_clients_mistake() {
    let fleet = TestFleet::start().await;
    let path = "/api/search?q=harbour&cursor=odd";
    let response = fleet.get("web", path).await;
    assert_eq!(
        (response.status.as_u16(), &response.body["code"]),
        (400, &"invalid_request".into())
    );
    let query =
        json!({"query": r#"{ search(q: "harbour", cursor: "odd") { results { total } } }"#});
    let response = fleet.post("web", "/graphql", &query).await;
    let told = &response.body["errors"][0]["extensions"];
    assert_eq!(told["code"], "invalid_request", "{}", response.body);
}

#[tokio::test]
async fn an_argument_whose_variable_nobody_set_has_its_default() {
    let fleet = TestFleet::start().await;
    let query =
        "query($limit: Int) { search(q: \"harbour\", limit: $limit) { results { items { id } } } }";
    let found = async |variables: Value| {
        let body = json!({"query": query, "variables": variables});
        let response = fleet.post("web", "/graphql", &body).await;
        let items = &response.body["data"]["search"]["results"]["items"];
        items.as_array().unwrap().len()
    };
    assert_eq!(found(json!({})).await, found(json!({"limit": 20})).await);
    assert_eq!(found(json!({"limit": 2})).await, 2);
}

#[tokio::test]
async fn every_door_reads_the_same_json() {
    let fleet = TestFleet::start().await;
    let credential = fleet.bearer("ada");
    for (gateway, path, body) in [
        ("tv", "/v1/titles/p-1/heartbeat", r#"{"positionS": 1}"#),
        ("web", "/graphql", r#"{"query": "{ __typename }"}"#),
    ] {
        for (kind, status) in [
            ("application/json", 200),
            ("Application/JSON; charset=\"UTF-8\"", 200),
            ("application/json; charset=utf-16", 415),
            ("text/plain", 415),
        ] {
            let url = format!("{}{path}", fleet.running.url(gateway));
            let request = fleet.http.post(url).header("content-type", kind);
            let request = request.header("authorization", &credential).body(body);
            let response = crate::support::send(request).await;
            assert_eq!(response.status(), status, "{path} {kind}");
        }
    }
}

/// Serde would take the members of a type in their order for it.
#[tokio::test]
async fn a_list_is_no_object() {
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
        assert_eq!(told(&response), [pointer], "{path} {body}");
    }
}

#[tokio::test]
async fn a_body_is_pointed_into_member_by_member() {
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
        let mut told = told(&response);
        told.sort_unstable();
        let mut pointers = pointers;
        pointers.sort_unstable();
        assert_eq!(told, pointers, "{body}");
    }
}

/// What an answer points at.
fn told(response: &JsonResponse) -> Vec<&str> {
    let errors = response.body["errors"].as_array().unwrap().iter();
    errors.map(|e| e["pointer"].as_str().unwrap()).collect()
}
