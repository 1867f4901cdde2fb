//! Limits for documents.

use std::fmt::Write as _;

use super::*;

fn repeat(count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, i| {
        let _ = write!(text, "{} ", each(i));
        text
    })
}

/// Nested rooms. async-graphql does not count `__typename`.
fn nested(depth: usize) -> String {
    let next = depth - 1;
    format!(
        "{{ room {} {{ __typename }} {} }}",
        "{ next ".repeat(next),
        "}".repeat(next)
    )
}

#[tokio::test]
async fn every_limit_applies_in_production_and_in_development() {
    for endpoint in [TestEndpoint::production(), TestEndpoint::development()] {
        let selection = "{ book { title } }";
        let operations = repeat(6, |i| {
            format!("query q{i} {{ shelfPage(id: 1) {selection} }}")
        });
        let aliases = format!("{{ {} }}", repeat(31, |i| format!("a{i}: __typename")));
        let repeats = format!("{{ {} }}", repeat(32, |_| "__typename".to_owned()));
        let complex = format!("{{ {} }}", repeat(30, |i| format!("a{i}: room {{ ...F }}")));
        let complex = format!(
            "{complex} fragment F on Room {{ shelves {{ page {{ book {{ title pages }} \
             marginNotes {{ title pages }} rows {{ title pages }} }} }} }}"
        );
        let directives = format!(
            "{{ room {} {{ __typename }} }}",
            "@include(if: true) ".repeat(21)
        );
        let long = format!("{{ room {{ __typename }} }} #{}", "x".repeat(16 << 10));
        for (document, text) in [
            (&operations, "operations"),
            (&aliases, "aliases"),
            (&repeats, "aliases"),
            (&complex, "complex"),
            (&directives, "directives"),
            (&long, "bytes"),
            (&nested(11), "deep"),
            (&nested(33), "deep"),
        ] {
            let response = endpoint.query(document).await;
            assert!(
                response.error_text().contains(text),
                "{text}: {}",
                response.body
            );
        }
        endpoint.query(&nested(10)).await.data();
        assert_eq!(endpoint.fetches.count(BOOK), 0);
    }
}

#[tokio::test]
async fn aliases_in_fragments_count() {
    let endpoint = TestEndpoint::production();
    let spreads = repeat(16, |_| "... on Query { ...F }".to_owned());
    let document = format!("{{ {spreads} }} fragment F on Query {{ a: __typename b: __typename }}");
    assert!(
        endpoint
            .query(&document)
            .await
            .error_text()
            .contains("aliases")
    );
}

#[tokio::test]
async fn cycles_and_doubling_fragments_are_rejected_quickly() {
    let endpoint = TestEndpoint::production();
    let doubling = |root: &str| {
        let each = |i| format!("fragment F{i} on Query {{ ...F{} ...F{} }}", i + 1, i + 1);
        format!(
            "{{ {root} }} {} fragment F31 on Query {{ __typename }}",
            repeat(31, each)
        )
    };
    for document in [
        "{ ...A } fragment A on Query { ...A }".to_owned(),
        "{ ...A } fragment A on Query { ...B ...B } fragment B on Query { ...A ...A }".to_owned(),
        "{ room { ...A } } fragment A on Room { next { ...A } }".to_owned(),
        "{ __typename } fragment A on Query { ...A }".to_owned(),
        doubling("...F0"),
        doubling("__typename"),
    ] {
        endpoint.query(&document).await.error_text();
    }
}

#[tokio::test]
async fn no_nesting_overflows_the_stack() {
    let config = Config {
        max_document_bytes: 64 << 10,
        ..Config::default()
    };
    let endpoint = TestEndpoint::open(&config, Mode::Production);
    for (open, close) in [("{a", "}"), ("[", "]"), ("{a:", "}"), ("(", ")")] {
        for depth in [126, 5400, 16300] {
            let inside = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for document in [
                format!("{{ tiny(n: {inside}) }}"),
                inside.clone(),
                format!("query($v: {inside}) {{ room }}"),
            ] {
                let response = endpoint.query(&document).await;
                let code = &response.body["errors"][0]["extensions"]["code"];
                // A custom scalar may be a list. The field then refuses the value.
                let is_refused = code == "invalid_request" || code == "validation_failed";
                assert!(is_refused, "{}", response.body);
            }
        }
    }
}

#[tokio::test]
async fn introspection_works_in_development_only() {
    let small = "{ __schema { types { name } } }";
    let response = TestEndpoint::production().query(small).await;
    assert_eq!(response.error_text(), "Introspection is disabled.");
    let hidden = "{ ...F } fragment F on Query { __type(name: \"Book\") { name } }";
    TestEndpoint::production().query(hidden).await.error_text();
    let guess = TestEndpoint::production().query("{ shelfPag }").await;
    assert!(
        !guess.error_text().contains("shelfPage"),
        "no suggestion: {}",
        guess.body
    );
    let response = TestEndpoint::production().query("{ __typename }").await;
    assert_eq!(response.data(), &json!({"__typename": "Query"}));

    let response = TestEndpoint::development().query(INTROSPECTION_QUERY).await;
    let types = response.data()["__schema"]["types"].as_array().unwrap();
    assert!(types.iter().any(|t| t["name"] == "ShelfPage"));
}

/// The first query of GraphiQL.
const INTROSPECTION_QUERY: &str = "query IntrospectionQuery { __schema {
    queryType { name } mutationType { name } subscriptionType { name } types { ...FullType }
    directives { name description locations args { ...InputValue } } } }
  fragment FullType on __Type { kind name description
    fields(includeDeprecated: true) { name description args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
    inputFields { ...InputValue } interfaces { ...TypeRef }
    enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
  fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
  fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";
