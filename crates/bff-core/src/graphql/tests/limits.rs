//! What a document may cost.

use std::fmt::Write as _;

use super::*;

fn many(count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, i| {
        let _ = write!(text, "{} ", each(i));
        text
    })
}

/// Rooms in rooms; the library does not count `__typename`.
fn nested(depth: usize) -> String {
    let next = depth - 1;
    format!(
        "{{ room {} {{ __typename }} {} }}",
        "{ next ".repeat(next),
        "}".repeat(next)
    )
}

#[tokio::test]
async fn every_limit_holds_in_production_and_in_development() {
    for door in [Door::production(), Door::development()] {
        let selection = "{ book { title } }";
        let operations = many(6, |i| {
            format!("query q{i} {{ shelfPage(id: 1) {selection} }}")
        });
        let aliases = format!("{{ {} }}", many(31, |i| format!("a{i}: __typename")));
        let repeats = format!("{{ {} }}", many(32, |_| "__typename".to_owned()));
        let complex = format!(
            "{{ {} }}",
            many(30, |i| format!(
                "a{i}: room {{ {} }}",
                many(3, |_| "...F".into())
            ))
        );
        let complex = format!(
            "{complex} fragment F on Room {{ shelves {{ page {{ book {{ title pages }} }} }} }}"
        );
        let directives = format!(
            "{{ room {} {{ __typename }} }}",
            "@include(if: true) ".repeat(21)
        );
        let long = format!("{{ room {{ __typename }} }} #{}", "x".repeat(16 << 10));
        for (document, says) in [
            (&operations, "operations"),
            (&aliases, "aliases"),
            (&repeats, "aliases"),
            (&complex, "complex"),
            (&directives, "directives"),
            (&long, "bytes"),
            (&nested(11), "deep"),
        ] {
            let asked = door.query(document).await;
            assert!(asked.refusal().contains(says), "{says}: {}", asked.body);
        }
        door.query(&nested(10)).await.data();
        assert_eq!(door.fetches.of(BOOK), 0);
    }
}

#[tokio::test]
async fn aliases_count_wherever_fragments_put_them() {
    let door = Door::production();
    let spreads = many(16, |_| "... on Query { ...F }".to_owned());
    let document = format!("{{ {spreads} }} fragment F on Query {{ a: __typename b: __typename }}");
    assert!(door.query(&document).await.refusal().contains("aliases"));
}

#[tokio::test]
async fn cycles_and_doubling_fragments_end_at_once() {
    let door = Door::production();
    let doubling = |root: &str| {
        let each = |i| format!("fragment F{i} on Query {{ ...F{} ...F{} }}", i + 1, i + 1);
        format!(
            "{{ {root} }} {} fragment F31 on Query {{ __typename }}",
            many(31, each)
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
        door.query(&document).await.refusal();
    }
}

#[tokio::test]
async fn no_nesting_overflows_the_stack() {
    let config = Config {
        max_document_bytes: 64 << 10,
        ..Config::default()
    };
    let door = Door::open(&config, Mode::Production);
    for (open, close) in [("{a", "}"), ("[", "]"), ("{a:", "}"), ("(", ")")] {
        for depth in [126, 5400, 16300] {
            let inside = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for document in [
                format!("{{ tiny(n: {inside}) }}"),
                inside.clone(),
                format!("query($v: {inside}) {{ room }}"),
            ] {
                let asked = door.query(&document).await;
                let code = &asked.body["errors"][0]["extensions"]["code"];
                assert_eq!(code, "invalid_request", "{}", asked.body);
            }
        }
    }
}

#[tokio::test]
async fn the_schema_is_told_in_development_only() {
    let small = "{ __schema { types { name } } }";
    let asked = Door::production().query(small).await;
    assert_eq!(asked.refusal(), "Introspection is off.");
    let hidden = "{ ...F } fragment F on Query { __type(name: \"Book\") { name } }";
    Door::production().query(hidden).await.refusal();
    let guess = Door::production().query("{ shelfPag }").await;
    assert!(
        !guess.refusal().contains("shelfPage"),
        "no suggestion: {}",
        guess.body
    );
    let asked = Door::production().query("{ __typename }").await;
    assert_eq!(asked.data(), &json!({"__typename": "Query"}));

    let asked = Door::development().query(EXPLORER).await;
    let types = asked.data()["__schema"]["types"].as_array().unwrap();
    assert!(types.iter().any(|t| t["name"] == "ShelfPage"));
}

/// What GraphiQL asks first.
const EXPLORER: &str = "query IntrospectionQuery { __schema {
    queryType { name } mutationType { name } subscriptionType { name } types { ...FullType }
    directives { name description locations args { ...InputValue } } } }
  fragment FullType on __Type { kind name description
    fields(includeDeprecated: true) { name description args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
    inputFields { ...InputValue } interfaces { ...TypeRef }
    enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
  fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
  fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";
