//! The GraphQL endpoint over HTTP: media types, bodies, methods and the GraphiQL page.

use super::*;
use crate::error::Error;

async fn post(
    endpoint: &TestEndpoint,
    accept: Option<&str>,
    content_type: Option<&str>,
    body: impl Into<Body>,
) -> TestResponse {
    let mut request = Request::post("/graphql");
    if let Some(accept) = accept {
        request = request.header(header::ACCEPT, accept);
    }
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    TestResponse::read(endpoint.send(request.body(body.into()).unwrap()).await).await
}

const JSON: Option<&str> = Some("application/json");

#[tokio::test]
async fn the_client_chooses_the_media_type() {
    let endpoint = TestEndpoint::production();
    let new = "application/graphql-response+json; charset=utf-8";
    let old = "application/json; charset=utf-8";
    for (accept, kind, status) in [
        (None, old, 200),
        (Some(""), old, 200),
        (Some("*/*"), old, 200),
        (Some("*/*;q=0.1"), old, 200),
        (Some("application/json; charset=utf-8"), old, 200),
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
        (
            Some("application/json;q=0.0, application/*;q=0.1"),
            new,
            400,
        ),
        (Some(""), old, 200),
        (Some(", ,"), old, 200),
        (Some("application/json;q=x"), old, 200),
        (Some("*/*;q=0.001"), old, 200),
        (Some("application/json;a=\"b, text/html;q=0\""), old, 200),
        (
            Some("application/json;q=0.9;ext=1, application/graphql-response+json;Q=0.91"),
            new,
            400,
        ),
        (
            Some("application/graphql-response+json;q=1.0001, application/json;q=0.1"),
            old,
            200,
        ),
        (
            Some(
                "application/graphql-response+json; charset=utf-8, application/json; charset=utf-8",
            ),
            new,
            400,
        ),
    ] {
        let response = post(&endpoint, accept, JSON, r#"{"query":"{ nothing }"}"#).await;
        assert_eq!(response.headers[header::CONTENT_TYPE], kind, "{accept:?}");
        assert_eq!(response.status, status, "{accept:?}");
        assert_eq!(
            response.body["errors"][0]["extensions"]["code"],
            "invalid_request"
        );
        let valid = post(&endpoint, accept, JSON, r#"{"query":"{ __typename }"}"#).await;
        assert_eq!(
            (valid.status, valid.data()),
            (200, &json!({"__typename": "Query"}))
        );
    }
    for accept in [
        "text/html",
        "application/json;q=0",
        "*/*;q=0",
        "application/graphql-response+json;q=0, application/json;q=0, */*",
        "application/json;q=0.000, application/xml;q=x",
        "image/*, application/xml",
    ] {
        let response = post(
            &endpoint,
            Some(accept),
            JSON,
            r#"{"query":"{ __typename }"}"#,
        )
        .await;
        assert_eq!(response.status, 406, "{accept}");
    }
}

#[tokio::test]
async fn only_json_is_accepted() {
    let endpoint = TestEndpoint::production();
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/graphql"),
        Some("application/json; charset=latin1"),
    ] {
        assert_eq!(
            post(
                &endpoint,
                None,
                content_type,
                r#"{"query":"{ __typename }"}"#
            )
            .await
            .status,
            415,
            "{content_type:?}"
        );
    }
    let upper_case = Some("Application/JSON; Charset=\"UTF-8\"");
    assert_eq!(
        post(&endpoint, None, upper_case, r#"{"query":"{ __typename }"}"#)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn an_invalid_body_gets_a_problem_document() {
    let endpoint = TestEndpoint::production();
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("\u{fffd}", 400),
        (r#"[{"query":"{ __typename }"}]"#, 400),
        ("[]", 400),
        ("1", 400),
        ("null", 400),
        (r#""{ __typename }""#, 400),
        ("{}", 400),
        (r#"{"query":"{ __typename }"} x"#, 400),
        (r#"{"quarry":"{ __typename }"}"#, 400),
        (r#"{"query":null}"#, 400),
        (r#"{"query":1}"#, 400),
        (r#"{"query":{}}"#, 400),
        (r#"{"query":["{ __typename }"]}"#, 400),
        (r#"{"query":"{ __typename }","variables":[]}"#, 400),
        (r#"{"query":"{ __typename }","variables":"{}"}"#, 400),
        (r#"{"query":"{ __typename }","variables":0}"#, 400),
        (r#"{"query":"{ __typename }","variables":false}"#, 400),
        (r#"{"query":"{ __typename }","operationName":1}"#, 400),
        (r#"{"query":"{ __typename }","operationName":{}}"#, 400),
        (r#"{"query":"{ __typename }","extensions":"x"}"#, 400),
        (r#"{"query":"{ __typename }","extensions":[]}"#, 400),
        // Other members are reserved for later versions.
        (r#"{"query":"{ __typename }","quarry":1}"#, 200),
        (
            r#"{"query":"{ __typename }","variables":null,"operationName":null,"extensions":null}"#,
            200,
        ),
        (
            r#"{"query":"{ __typename }","variables":{},"extensions":{"a":1}}"#,
            200,
        ),
    ] {
        for accept in [
            None,
            Some("application/json"),
            Some("application/graphql-response+json"),
        ] {
            let response = post(&endpoint, accept, JSON, body).await;
            assert_eq!(response.status, status, "{body} {accept:?}");
            if status == 400 {
                let code = response.failure.unwrap().code();
                assert_eq!(code, codes::INVALID_REQUEST, "{body}");
            }
        }
    }
    let large = json!({"query": "{ __typename }", "variables": {"v": "x".repeat(64 << 10)}});
    assert_eq!(
        post(&endpoint, None, JSON, large.to_string()).await.status,
        413
    );
}

#[tokio::test]
async fn all_errors_are_reported_at_once() {
    let endpoint = TestEndpoint::production();
    let request = Request::post("/graphql")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(r#"{"variables":1,"extensions":2}"#))
        .unwrap();
    let response = endpoint.send(request).await;
    let problem = response
        .extensions()
        .get::<Error>()
        .unwrap()
        .problem("", "/graphql", "r");
    let problem: Value = serde_json::from_slice(&problem).unwrap();
    let mut pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/extensions", "/query", "/variables"]);
}

#[tokio::test]
async fn the_operation_is_selected_by_name() {
    let endpoint = TestEndpoint::production();
    let document = "query a { x: __typename } query b { y: __typename }";
    let response = endpoint
        .send_body(json!({"query": document, "operationName": "b"}))
        .await;
    assert_eq!(response.data(), &json!({"y": "Query"}));
    for (document, name) in [
        (document, json!("c")),
        (document, json!("")),
        (document, Value::Null),
        ("{ __typename }", json!("a")),
        ("{ __typename }", json!("")),
        ("query a { __typename }", json!("A")),
    ] {
        let body = json!({"query": document, "operationName": name});
        endpoint.send_body(body).await.error_text();
    }
    for (document, name) in [
        ("{ __typename }", Value::Null),
        ("query a { __typename }", Value::Null),
        ("query a { __typename }", json!("a")),
    ] {
        let body = json!({"query": document, "operationName": name});
        endpoint.send_body(body).await.data();
    }
}

#[tokio::test]
async fn other_methods_get_405_with_allow() {
    let endpoint = TestEndpoint::production();
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let request = Request::builder()
            .method(method)
            .uri("/graphql?query=%7B__typename%7D")
            .body(Body::empty())
            .unwrap();
        let response = TestResponse::read(endpoint.send(request).await).await;
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.headers[header::ALLOW], "POST");
    }
}

#[tokio::test]
async fn graphiql_exists_in_development_and_loads_only_its_own_files() {
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(
        TestEndpoint::production()
            .send(get("/graphiql"))
            .await
            .status(),
        404
    );
    let endpoint = TestEndpoint::development();
    let response = endpoint.send(get("/graphiql")).await;
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
        assert_eq!(endpoint.send(get(file)).await.status(), 200, "{file}");
    }
    assert!(!page.contains("http") && !page.contains("<script>"));
}
