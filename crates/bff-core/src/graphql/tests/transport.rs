//! GraphQL over HTTP.

use super::*;
use crate::error::Error;

async fn post(
    door: &Door,
    accept: Option<&str>,
    kind: Option<&str>,
    body: impl Into<Body>,
) -> Asked {
    let mut request = Request::post("/graphql");
    if let Some(accept) = accept {
        request = request.header(header::ACCEPT, accept);
    }
    if let Some(kind) = kind {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    Asked::of(door.send(request.body(body.into()).unwrap()).await).await
}

const JSON: Option<&str> = Some("application/json");

#[tokio::test]
async fn the_client_chooses_the_media_type() {
    let door = Door::production();
    let new = "application/graphql-response+json; charset=utf-8";
    let old = "application/json; charset=utf-8";
    for (accept, kind, status) in [
        (None, old, 200),
        (Some("*/*"), old, 200),
        (Some("application/json"), old, 200),
        (Some("application/json, */*"), old, 200),
        (Some("text/html, application/*;q=0.8"), old, 200),
        (
            Some("application/graphql-response+json;q=0.5, application/json"),
            old,
            200,
        ),
        (Some("application/graphql-response+json"), new, 400),
        (
            Some("application/graphql-response+json, application/json;q=0.9"),
            new,
            400,
        ),
        (
            Some("application/json, application/graphql-response+json"),
            new,
            400,
        ),
        (
            Some("*/*;q=0.1, Application/GraphQL-Response+JSON"),
            new,
            400,
        ),
        (Some("*/*, application/json;q=0"), new, 400),
    ] {
        let asked = post(&door, accept, JSON, r#"{"query":"{ nothing }"}"#).await;
        assert_eq!(asked.headers[header::CONTENT_TYPE], kind, "{accept:?}");
        assert_eq!(asked.status, status, "{accept:?}");
        assert_eq!(
            asked.body["errors"][0]["extensions"]["code"],
            "invalid_request"
        );
        let good = post(&door, accept, JSON, r#"{"query":"{ __typename }"}"#).await;
        assert_eq!(
            (good.status, good.data()),
            (200, &json!({"__typename": "Query"}))
        );
    }
    for accept in [
        "text/html",
        "application/json;q=0",
        "image/*, application/xml",
    ] {
        let asked = post(&door, Some(accept), JSON, r#"{"query":"{ __typename }"}"#).await;
        assert_eq!(asked.status, 406, "{accept}");
    }
}

#[tokio::test]
async fn only_json_is_read() {
    let door = Door::production();
    for kind in [
        None,
        Some("text/plain"),
        Some("application/graphql"),
        Some("application/json; charset=latin1"),
    ] {
        assert_eq!(
            post(&door, None, kind, r#"{"query":"{ __typename }"}"#)
                .await
                .status,
            415,
            "{kind:?}"
        );
    }
    let spelled = Some("Application/JSON; Charset=\"UTF-8\"");
    assert_eq!(
        post(&door, None, spelled, r#"{"query":"{ __typename }"}"#)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_body_of_another_shape_is_refused_as_a_problem() {
    let door = Door::production();
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("\u{fffd}", 400),
        (r#"[{"query":"{ __typename }"}]"#, 422),
        ("1", 422),
        ("{}", 422),
        (r#"{"query":1}"#, 422),
        (r#"{"query":"{ __typename }","variables":[]}"#, 422),
        (r#"{"query":"{ __typename }","operationName":1}"#, 422),
        (r#"{"query":"{ __typename }","extensions":"x"}"#, 422),
        (r#"{"query":"{ __typename }","quarry":1}"#, 422),
        (
            r#"{"query":"{ __typename }","variables":null,"operationName":null,"extensions":{}}"#,
            200,
        ),
    ] {
        assert_eq!(post(&door, None, JSON, body).await.status, status, "{body}");
    }
    let large = json!({"query": "{ __typename }", "variables": {"v": "x".repeat(64 << 10)}});
    assert_eq!(post(&door, None, JSON, large.to_string()).await.status, 413);
}

#[tokio::test]
async fn everything_wrong_is_said_at_once() {
    let door = Door::production();
    let request = Request::post("/graphql")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(r#"{"variables":1,"a/b":2}"#))
        .unwrap();
    let response = door.send(request).await;
    let problem = response
        .extensions()
        .get::<Error>()
        .unwrap()
        .problem("", "/graphql", "r");
    let problem: Value = serde_json::from_slice(&problem).unwrap();
    let mut places: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    places.sort_unstable();
    assert_eq!(places, ["/a~1b", "/query", "/variables"]);
}

#[tokio::test]
async fn the_operation_is_chosen_by_name() {
    let door = Door::production();
    let document = "query a { x: __typename } query b { y: __typename }";
    let asked = door
        .ask(json!({"query": document, "operationName": "b"}))
        .await;
    assert_eq!(asked.data(), &json!({"y": "Query"}));
    door.ask(json!({"query": document, "operationName": "c"}))
        .await
        .refusal();
    door.ask(json!({"query": document})).await.refusal();
}

#[tokio::test]
async fn other_methods_are_told_which_one_is_right() {
    let door = Door::production();
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let request = Request::builder()
            .method(method)
            .uri("/graphql?query=%7B__typename%7D")
            .body(Body::empty())
            .unwrap();
        let asked = Asked::of(door.send(request).await).await;
        assert_eq!(asked.status, 405, "{method}");
        assert_eq!(asked.headers[header::ALLOW], "POST");
    }
}

#[tokio::test]
async fn the_explorer_is_there_in_development_and_loads_nothing_from_elsewhere() {
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(
        Door::production().send(get("/graphiql")).await.status(),
        404
    );
    let door = Door::development();
    let response = door.send(get("/graphiql")).await;
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(policy.contains("default-src 'none'; script-src 'self';"));
    let page = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    let page = std::str::from_utf8(&page).unwrap();
    let files: Vec<&str> = (page.split(['"', '\'']))
        .filter(|t| t.starts_with("/graphiql/"))
        .collect();
    assert_eq!(files.len(), 6);
    for file in files {
        assert_eq!(door.send(get(file)).await.status(), 200, "{file}");
    }
    assert!(!page.contains("http") && !page.contains("<script>"));
}
