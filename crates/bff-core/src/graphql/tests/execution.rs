//! The rules of GraphQL §6, "Execution": selections, their order, and null propagation.

use super::*;

/// Documents and the data of their responses, without errors.
const DATA: &[(&str, &str)] = &[
    // An object without selected fields is not null.
    ("{item{name @skip(if:true)}}", r#"{"item":{}}"#),
    ("{item{name @include(if:false)}}", r#"{"item":{}}"#),
    ("{item @skip(if:true){name}}", "{}"),
    ("{__typename @skip(if:true)}", "{}"),
    ("{noItem{name @skip(if:true)}}", r#"{"noItem":null}"#),
    ("{maybeItem{name @skip(if:true)}}", r#"{"maybeItem":{}}"#),
    (
        "{item{child{child{name @skip(if:true)}}}}",
        r#"{"item":{"child":{"child":{}}}}"#,
    ),
    (
        "{item{items{name @skip(if:true)}}}",
        r#"{"item":{"items":[{},{}]}}"#,
    ),
    (
        "{item{maybeItems{name @skip(if:true)}}}",
        r#"{"item":{"maybeItems":[{},null]}}"#,
    ),
    (
        "{item{matrix{name @skip(if:true)}}}",
        r#"{"item":{"matrix":[[{}],[]]}}"#,
    ),
    ("{nodes{id @skip(if:true)}}", r#"{"nodes":[{},{}]}"#),
    ("mutation{count{name @skip(if:true)}}", r#"{"count":{}}"#),
    // Directives on fragments, and both directives together.
    ("{item{... @skip(if:true){name}}}", r#"{"item":{}}"#),
    (
        "{item{... @include(if:true){name}}}",
        r#"{"item":{"name":"n"}}"#,
    ),
    (
        "{item{... on Item @skip(if:true){name} __typename}}",
        r#"{"item":{"__typename":"Item"}}"#,
    ),
    (
        "{item{...F @skip(if:true)}} fragment F on Item{name}",
        r#"{"item":{}}"#,
    ),
    (
        "{item{...F @skip(if:true) ...F}} fragment F on Item{name}",
        r#"{"item":{"name":"n"}}"#,
    ),
    (
        "{item{name @skip(if:true) name}}",
        r#"{"item":{"name":"n"}}"#,
    ),
    (
        "{item{name @skip(if:true) ...{name}}}",
        r#"{"item":{"name":"n"}}"#,
    ),
    (
        "{item{a:name @skip(if:false) @include(if:false) b:name @skip(if:false) @include(if:true)}}",
        r#"{"item":{"b":"n"}}"#,
    ),
    (
        "{item{a:name @skip(if:true) @include(if:true)}}",
        r#"{"item":{}}"#,
    ),
    (
        "{...F} fragment F on Query{item{...G}} fragment G on Item{name @skip(if:true) t:__typename}",
        r#"{"item":{"t":"Item"}}"#,
    ),
    // Fields with one response key are merged.
    (
        "{item{name} item{child{name}} item{child{t:__typename}}}",
        r#"{"item":{"name":"n","child":{"name":"n","t":"Item"}}}"#,
    ),
    (
        "{item{items{name}} ...F} fragment F on Query{item{items{t:__typename}}}",
        r#"{"item":{"items":[{"name":"n","t":"Item"},{"name":"n","t":"Item"}]}}"#,
    ),
    (
        "{item{matrix{name} matrix{t:__typename}}}",
        r#"{"item":{"matrix":[[{"name":"n","t":"Item"}],[]]}}"#,
    ),
    (
        "{item{maybe{name @skip(if:true)} maybe{name}}}",
        r#"{"item":{"maybe":{"name":"n"}}}"#,
    ),
    (
        "mutation{count{calls} count{name} again:count{calls}}",
        r#"{"count":{"calls":1,"name":"c"},"again":{"calls":2}}"#,
    ),
    // The order is that of the document.
    (
        "{z:__typename item{slow name a:__typename} b:__typename}",
        r#"{"z":"Query","item":{"slow":"s","name":"n","a":"Item"},"b":"Query"}"#,
    ),
    (
        "{b:item{slow} a:item{name}}",
        r#"{"b":{"slow":"s"},"a":{"name":"n"}}"#,
    ),
    (
        "{item{...F name} a:__typename} fragment F on Item{slow child{slow name}}",
        r#"{"item":{"slow":"s","child":{"slow":"s","name":"n"},"name":"n"},"a":"Query"}"#,
    ),
    (
        "{item{name slow} ...{item{child{name} name}} t:__typename}",
        r#"{"item":{"name":"n","slow":"s","child":{"name":"n"}},"t":"Query"}"#,
    ),
    // The type of an object decides which fragments apply.
    (
        "{nodes{... on Twig{length id} id ... on Leaf{size} __typename}}",
        r#"{"nodes":[{"id":"l","size":1,"__typename":"Leaf"},{"length":2.5,"id":"t","__typename":"Twig"}]}"#,
    ),
    (
        "{nodes{...F}} fragment F on Node{... on Node{id} ... on Leaf @skip(if:true){size}}",
        r#"{"nodes":[{"id":"l"},{"id":"t"}]}"#,
    ),
    ("{nodes{... on Leaf{x:id} ... on Twig{x:length}}}", ""),
    ("{item{smallest}}", r#"{"item":{"smallest":-2147483648}}"#),
    ("mutation{__typename}", r#"{"__typename":"Mutation"}"#),
];

#[tokio::test]
async fn data_has_the_selected_fields_in_the_order_of_the_document() {
    for (document, data) in DATA {
        let response = sample::endpoint().query(document).await;
        if data.is_empty() {
            response.error_text();
        } else {
            assert_eq!(&response.data().to_string(), data, "{document}");
        }
    }
}

#[tokio::test]
async fn a_condition_has_the_value_of_its_variable() {
    let skip = "query($v:Boolean=true){a:__typename @skip(if:$v) b:__typename @include(if:$v)}";
    let required = "query($v:Boolean!){a:__typename @skip(if:$v) b:__typename @include(if:$v)}";
    for (document, variables, data) in [
        (skip, json!({}), r#"{"b":"Query"}"#),
        (skip, json!({"v": true}), r#"{"b":"Query"}"#),
        (skip, json!({"v": false}), r#"{"a":"Query"}"#),
        // The default is not for null. A value that is not true does not include, and does not skip.
        (skip, json!({"v": null}), r#"{"a":"Query"}"#),
        (
            required,
            json!({"v": true, "unknown": 1}),
            r#"{"b":"Query"}"#,
        ),
    ] {
        let body = json!({"query": document, "variables": variables});
        let response = sample::endpoint().send_body(body).await;
        assert_eq!(response.data().to_string(), data, "{document} {variables}");
    }
    for variables in [
        json!({}),
        json!({"v": null}),
        json!({"v": 1}),
        json!({"v": "true"}),
    ] {
        let body = json!({"query": required, "variables": variables});
        sample::endpoint().send_body(body).await.error_text();
    }
}

#[tokio::test]
async fn null_propagates_to_the_nearest_field_that_can_be_null() {
    for (document, data, paths) in [
        (
            "{item{name fails}}",
            r#"{"item":{"name":"n","fails":null}}"#,
            json!([["item", "fails"]]),
        ),
        (
            "{item{f:fails}}",
            r#"{"item":{"f":null}}"#,
            json!([["item", "f"]]),
        ),
        (
            "{item{nonNullFails}}",
            "null",
            json!([["item", "nonNullFails"]]),
        ),
        (
            "{maybeItem{name x:nonNullFails} t:__typename}",
            r#"{"maybeItem":null,"t":"Query"}"#,
            json!([["maybeItem", "x"]]),
        ),
        (
            "{item{m:maybe{child{nonNullFails}} name}}",
            r#"{"item":{"m":null,"name":"n"}}"#,
            json!([["item", "m", "child", "nonNullFails"]]),
        ),
        (
            "{maybeItem{items{nonNullFails}}}",
            r#"{"maybeItem":null}"#,
            json!([
                ["maybeItem", "items", 0, "nonNullFails"],
                ["maybeItem", "items", 1, "nonNullFails"]
            ]),
        ),
        (
            "{maybeItem{maybeItems{nonNullFails} name}}",
            r#"{"maybeItem":{"maybeItems":[null,null],"name":"n"}}"#,
            json!([["maybeItem", "maybeItems", 0, "nonNullFails"]]),
        ),
        (
            "{item{maybeItems{fails name}}}",
            r#"{"item":{"maybeItems":[{"fails":null,"name":"n"},null]}}"#,
            json!([["item", "maybeItems", 0, "fails"]]),
        ),
        (
            "{maybeItem{matrix{nonNullFails}}}",
            r#"{"maybeItem":null}"#,
            json!([["maybeItem", "matrix", 0, 0, "nonNullFails"]]),
        ),
        (
            "{maybeItem{nullableLarge large}}",
            r#"{"maybeItem":null}"#,
            json!([["maybeItem", "nullableLarge"], ["maybeItem", "large"]]),
        ),
        (
            "{item{nullableLarge}}",
            r#"{"item":{"nullableLarge":null}}"#,
            json!([["item", "nullableLarge"]]),
        ),
        (
            "{item{name slow fails}}",
            r#"{"item":{"name":"n","slow":"s","fails":null}}"#,
            json!([["item", "fails"]]),
        ),
    ] {
        let response = sample::endpoint().query(document).await;
        assert_eq!(
            (response.status, response.body["data"].to_string()),
            (200, data.to_owned()),
            "{document}"
        );
        assert!(response.body.as_object().unwrap().contains_key("data"));
        let errors = response.body["errors"].as_array().unwrap();
        let mut found: Vec<_> = errors.iter().map(|e| e["path"].to_string()).collect();
        let mut paths: Vec<_> = paths
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        found.sort();
        paths.sort();
        assert_eq!(found, paths, "{document}");
        for error in errors {
            assert!(
                error["locations"][0]["line"].as_u64() > Some(0),
                "{document}: {error}"
            );
            assert!(
                error["extensions"]["code"].is_string(),
                "{document}: {error}"
            );
        }
        assert!(!response.body.to_string().contains("db-1"));
    }
}

#[tokio::test]
async fn an_error_has_the_position_of_its_field() {
    let response = sample::endpoint()
        .query("# ü\n{ item {\n  x: fails } }")
        .await;
    let error = &response.body["errors"][0];
    assert_eq!(error["locations"], json!([{"line": 3, "column": 3}]));
    let response = sample::endpoint().query("{ item { name\n  odd } }").await;
    assert_eq!(
        response.body["errors"][0]["locations"],
        json!([{"line": 2, "column": 3}])
    );
}

#[tokio::test]
async fn an_invalid_document_is_not_executed() {
    for document in [
        "",
        "{",
        "{}",
        "{item}",
        "{item{}}",
        "{item{name{x}}}",
        "{odd}",
        "{item{odd}}",
        "subscription{x}",
        "fragment F on Item{name}",
        "{item{...F}}",
        "{item{...F}} fragment F on Item{...F}",
        "{item{...F}} fragment F on Odd{name}",
        "{item{... on Leaf{id}}}",
        "{item{name}} fragment F on Item{name}",
        "{item{...F}} fragment F on Item{name} fragment F on Item{name}",
        "{a:item{name} a:maybeItem{name}}",
        "{item{x:name} item{x:slow}}",
        "{required(n:1) required(n:2)}",
        "query a{__typename} query a{__typename}",
        "{__typename} query a{__typename}",
        "{__typename} type A{a:Int}",
        "{item{name @skip}}",
        "{item{name @skip(if:1)}}",
        "{item{name @odd}}",
        "{item{name @skip(if:true) @skip(if:true)}}",
        "query @skip(if:true){__typename}",
        "{item{name @include(unless:true)}}",
    ] {
        let endpoint = sample::endpoint();
        endpoint.query(document).await.error_text();
    }
}
