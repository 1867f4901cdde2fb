//! The rules of GraphQL §2.9, §3 and §5.6 for values: literals, variables and their coercion.

use super::*;

/// The response to a document with the variable `$v`, if it has a value.
async fn send(document: &str, value: Option<&str>) -> TestResponse {
    let body = match value {
        Some(value) => format!(
            r#"{{"query":{},"variables":{{"v":{value}}}}}"#,
            json!(document)
        ),
        None => json!({"query": document}).to_string(),
    };
    let request = Request::post("/graphql")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/graphql-response+json")
        .body(Body::from(body))
        .unwrap();
    TestResponse::read(sample::endpoint().send(request).await).await
}

/// A type, a literal, its JSON value, and the value that the resolver gets; `None` if it is refused.
const VALUES: &[(&str, &str, &str, &str, Option<&str>)] = &[
    (
        "int",
        "Int",
        "2147483647",
        "2147483647",
        Some("int=2147483647"),
    ),
    (
        "int",
        "Int",
        "-2147483648",
        "-2147483648",
        Some("int=-2147483648"),
    ),
    ("int", "Int", "2147483648", "2147483648", None),
    ("int", "Int", "-2147483649", "-2147483649", None),
    ("int", "Int", "5000000000", "5000000000", None),
    (
        "int",
        "Int",
        "99999999999999999999999",
        "99999999999999999999999",
        None,
    ),
    ("int", "Int", "1.0", "1.0", None),
    ("int", "Int", "1.5", "1.5", None),
    ("int", "Int", "1e2", "1e2", None),
    ("int", "Int", "\"1\"", "\"1\"", None),
    ("int", "Int", "true", "true", None),
    ("int", "Int", "[1]", "[1]", None),
    ("int", "Int", "{a:1}", "{\"a\":1}", None),
    ("int", "Int", "null", "null", Some("int=null")),
    ("float", "Float", "1", "1", Some("float=1.0")),
    ("float", "Float", "-1.5e1", "-1.5e1", Some("float=-15.0")),
    ("float", "Float", "\"1\"", "\"1\"", None),
    ("float", "Float", "1e999", "1e999", None),
    ("text", "String", "\"a\"", "\"a\"", Some("text=\"a\"")),
    ("text", "String", "1", "1", None),
    ("text", "String", "true", "true", None),
    ("flag", "Boolean", "true", "true", Some("flag=true")),
    ("flag", "Boolean", "1", "1", None),
    ("flag", "Boolean", "\"true\"", "\"true\"", None),
    ("id", "ID", "\"a\"", "\"a\"", Some("id=ID(\"a\")")),
    ("id", "ID", "4", "4", Some("id=ID(\"4\")")),
    ("id", "ID", "1.5", "1.5", None),
    ("id", "ID", "true", "true", None),
    ("kind", "Kind", "FILM", "\"FILM\"", Some("kind=Film")),
    ("kind", "Kind", "ODD", "\"ODD\"", None),
    ("kind", "Kind", "1", "1", None),
    (
        "list",
        "[Int]",
        "[1,null]",
        "[1,null]",
        Some("list=[Some(1), None]"),
    ),
    ("list", "[Int]", "1", "1", Some("list=[Some(1)]")),
    ("list", "[Int]", "[]", "[]", Some("list=[]")),
    ("list", "[Int]", "null", "null", Some("list=null")),
    ("list", "[Int]", "[\"1\"]", "[\"1\"]", None),
    ("list", "[Int]", "[2147483648]", "[2147483648]", None),
    ("matrix", "[[Int!]!]", "1", "1", Some("matrix=[[1]]")),
    (
        "matrix",
        "[[Int!]!]",
        "[[1],[2]]",
        "[[1],[2]]",
        Some("matrix=[[1], [2]]"),
    ),
    ("matrix", "[[Int!]!]", "[[null]]", "[[null]]", None),
    (
        "filter",
        "Filter",
        "{limit:1}",
        "{\"limit\":1}",
        Some("filter=Filter { limit: 1, kind: None, page: 7, tags: None }"),
    ),
    (
        "filter",
        "Filter",
        "{limit:1,kind:SERIES,page:2,tags:\"a\"}",
        "{\"limit\":1,\"kind\":\"SERIES\",\"page\":2,\"tags\":\"a\"}",
        Some("filter=Filter { limit: 1, kind: Some(Series), page: 2, tags: Some([\"a\"]) }"),
    ),
    ("filter", "Filter", "{}", "{}", None),
    ("filter", "Filter", "{limit:null}", "{\"limit\":null}", None),
    (
        "filter",
        "Filter",
        "{limit:5000000000}",
        "{\"limit\":5000000000}",
        None,
    ),
    (
        "filter",
        "Filter",
        "{limit:1,odd:1}",
        "{\"limit\":1,\"odd\":1}",
        None,
    ),
    (
        "filter",
        "Filter",
        "{limit:1,tags:[null]}",
        "{\"limit\":1,\"tags\":[null]}",
        None,
    ),
    ("filter", "Filter", "1", "1", None),
    ("filter", "Filter", "[{limit:1}]", "[{\"limit\":1}]", None),
];

#[tokio::test]
async fn literals_and_variables_are_coerced_to_their_types() {
    for (argument, ty, literal, json, expected) in VALUES {
        let literal = send(&format!("{{echo({argument}:{literal})}}"), None).await;
        let document = format!("query($v:{ty}){{echo({argument}:$v)}}");
        let variable = send(&document, Some(json)).await;
        for response in [literal, variable] {
            match expected {
                Some(text) => {
                    assert_eq!(response.data(), &json!({"echo": text}), "{argument}:{json}");
                }
                None if response.body.is_null() => {
                    // The number is not a JSON number of any Rust type.
                    assert_eq!((response.status, *json), (400, "1e999"));
                }
                None => drop(response.error_text().to_owned()),
            }
        }
    }
    // These are no numbers (GraphQL §2.9.1 and §2.9.2).
    for literal in [
        "01", "-01", "1.", ".5", "-", "+1", "1e", "1a", "0x1", "1_000", "1.5.2",
    ] {
        for argument in ["int", "float"] {
            let document = format!("{{echo({argument}:{literal})}}");
            send(&document, None).await.error_text();
        }
    }
    // These are literals only.
    for literal in ["\"FILM\"", "film", "true", "null"] {
        let response = send(&format!("{{echo(kind:{literal})}}"), None).await;
        match literal {
            "null" => assert_eq!(response.data(), &json!({"echo": "kind=null"})),
            _ => drop(response.error_text().to_owned()),
        }
    }
    assert_eq!(
        send("{echo(int:-0)}", None).await.data(),
        &json!({"echo": "int=0"})
    );
    for document in [
        "{echo(filter:{limit:1,limit:2})}",
        "query($v:Filter={limit:1,limit:2}){echo(filter:$v)}",
        "{...F} fragment F on Query{echo(filter:{limit:1,limit:1})}",
    ] {
        let response = send(document, None).await;
        assert!(response.error_text().contains("limit"), "{document}");
    }
}

#[tokio::test]
async fn an_absent_value_is_not_null() {
    for (document, value, expected) in [
        ("query($v:Int){echo(int:$v)}", None, json!({"echo": ""})),
        (
            "query($v:Int){echo(int:$v)}",
            Some("null"),
            json!({"echo": "int=null"}),
        ),
        (
            "query($v:Int=3){echo(int:$v)}",
            None,
            json!({"echo": "int=3"}),
        ),
        (
            "query($v:Int=3){echo(int:$v)}",
            Some("null"),
            json!({"echo": "int=null"}),
        ),
        (
            "query($v:Int=null){echo(int:$v)}",
            None,
            json!({"echo": "int=null"}),
        ),
        (
            "query($v:Int){echo(list:[1,$v])}",
            None,
            json!({"echo": "list=[Some(1), None]"}),
        ),
        (
            "query($v:Int=3){required(n:$v)}",
            None,
            json!({"required": 3}),
        ),
        (
            "query($v:Int){defaulted(n:$v)}",
            None,
            json!({"defaulted": 5}),
        ),
        ("{defaulted}", None, json!({"defaulted": 5})),
        (
            "query($v:Int=6){defaulted(n:$v)}",
            None,
            json!({"defaulted": 6}),
        ),
        (
            "query($v:Int!){echo(filter:{limit:$v})}",
            Some("4"),
            json!({"echo": "filter=Filter { limit: 4, kind: None, page: 7, tags: None }"}),
        ),
        (
            "query($v:Kind){echo(filter:{limit:1,kind:$v})}",
            None,
            json!({"echo": "filter=Filter { limit: 1, kind: None, page: 7, tags: None }"}),
        ),
        (
            "query($v:Int){echo(filter:{limit:1,page:$v})}",
            None,
            json!({"echo": "filter=Filter { limit: 1, kind: None, page: 7, tags: None }"}),
        ),
    ] {
        assert_eq!(
            send(document, value).await.data(),
            &expected,
            "{document} {value:?}"
        );
    }
}

#[tokio::test]
async fn an_invalid_variable_or_argument_is_an_error_before_execution() {
    for (document, value) in [
        ("query($v:Int!){required(n:$v)}", None),
        ("query($v:Int!){required(n:$v)}", Some("null")),
        ("query($v:Int){required(n:$v)}", Some("1")),
        ("query($v:[Int]){echo(int:$v)}", Some("1")),
        ("query($v:String){echo(int:$v)}", Some("\"1\"")),
        ("query($v:Float){echo(int:$v)}", Some("1")),
        ("query($v:Int){echo(float:$v)}", Some("1")),
        ("query($v:Odd){echo(int:$v)}", Some("1")),
        ("query($v:Item){echo(int:$v)}", Some("1")),
        ("query($v:Int,$v:Int){echo(int:$v)}", Some("1")),
        ("query($v:Int=\"1\"){echo(int:$v)}", Some("1")),
        ("query($v:Int=5000000000){echo(int:$v)}", Some("1")),
        ("query($v:Int!=null){echo(int:$v)}", Some("1")),
        ("query($v:Int){__typename}", Some("1")),
        ("{echo(int:$v)}", Some("1")),
        ("{...F} fragment F on Query{echo(int:$v)}", Some("1")),
        ("{required}", None),
        ("{required(n:null)}", None),
        ("{echo(odd:1)}", None),
        ("{item{name(odd:1)}}", None),
        ("{echo(int:1,int:1)}", None),
        ("{echo(filter:{kind:FILM})}", None),
        ("{echo(int:{limit:$v})}", Some("1")),
    ] {
        let response = send(document, value).await;
        let text = response.error_text();
        assert!(!text.is_empty(), "{document}");
    }
}

#[tokio::test]
async fn an_argument_outside_the_bounds_of_a_field_is_an_error_of_the_field() {
    let variable = "query($v:Int!){byte(n:$v)}";
    for (document, value, data, path) in [
        ("{byte(n:256)}", None, json!({"byte": null}), "byte"),
        ("{byte(n:-4)}", None, json!({"byte": null}), "byte"),
        (
            "{b:byte(n:-4) t:__typename}",
            None,
            json!({"b": null, "t": "Query"}),
            "b",
        ),
        (variable, Some("-1"), json!({"byte": null}), "byte"),
        (
            "{nonNullByte(n:256) t:__typename}",
            None,
            Value::Null,
            "nonNullByte",
        ),
        // The default of the variable makes the position valid; null does not.
        (
            "query($v:Int=1){required(n:$v)}",
            Some("null"),
            Value::Null,
            "required",
        ),
    ] {
        let response = send(document, value).await;
        assert_eq!(
            (response.status, &response.body["data"]),
            (200, &data),
            "{document}"
        );
        assert!(response.body.as_object().unwrap().contains_key("data"));
        let errors = response.body["errors"].as_array().unwrap();
        assert_eq!(
            (errors.len(), &errors[0]["path"]),
            (1, &json!([path])),
            "{document}"
        );
        let extensions = &errors[0]["extensions"];
        assert_eq!(extensions["code"], "validation_failed", "{document}");
        assert_eq!(
            extensions["errors"][0]["pointer"], "/variables/n",
            "{document}"
        );
        assert!(extensions["errors"][0]["detail"].is_string(), "{document}");
    }
    assert_eq!(
        send("{byte(n:255)}", None).await.data(),
        &json!({"byte": 255})
    );
}

#[tokio::test]
async fn strings_have_the_escapes_of_the_specification() {
    for (literal, text) in [
        (r#""\ud83d\ude00""#, Some("😀")),
        (
            r#""\uD83D\uDE00 \u{1F600} \u{1f600}\u{00000041}""#,
            Some("😀 😀 😀A"),
        ),
        (r#""a\u{41}\u0042""#, Some("aAB")),
        (r#""😀 ü""#, Some("😀 ü")),
        (r#""\" \\ \/ \b\f\n\r\t""#, Some("\" \\ / \u{8}\u{c}\n\r\t")),
        (r#""""#, Some("")),
        (r#""\\ud83d\\u{1F600}""#, Some(r"\ud83d\u{1F600}")),
        (r##""# no comment""##, Some("# no comment")),
        (r#""\ud83d""#, None),
        (r#""\ude00""#, None),
        (r#""\ude00\ud83d""#, None),
        (r#""\ud83d\u0041""#, None),
        (r#""\ud83d \ude00""#, None),
        (r#""\u{D83D}""#, None),
        (r#""\u{D83D}\u{DE00}""#, None),
        (r#""\u{110000}""#, None),
        (r#""\u{}""#, None),
        (r#""\u{1F600""#, None),
        (r#""\u12""#, None),
        (r#""\uzzzz""#, None),
        (r#""\x41""#, None),
        ("\"a\nb\"", None),
        (r#""a"#, None),
        // Block strings have one escape. The common indentation, and empty first and last lines, are removed.
        (r#""""block""""#, Some("block")),
        (r#""""""""#, Some("")),
        (r#"""" \""" """"#, Some(" \"\"\" ")),
        (r#""""\ud83d \u{1F600} \n "x" \""""#, None),
        (
            r#""""\ud83d \u{1F600} \n "x" """"#,
            Some(r#"\ud83d \u{1F600} \n "x" "#),
        ),
        (
            "\"\"\"\n    Hello,\n      World!\n\n    Yours,\n      GraphQL.\n  \"\"\"",
            Some("Hello,\n  World!\n\nYours,\n  GraphQL."),
        ),
        ("\"\"\"a\n  b\n   c\"\"\"", Some("a\nb\n c")),
        ("\"\"\"\r\n\ta\r\n\tb\r\n\"\"\"", Some("a\nb")),
        ("\"\"\"\n\n  a\n\n\"\"\"", Some("a")),
    ] {
        let response = send(&format!("{{echo(text:{literal})}}"), None).await;
        match text {
            Some(text) => {
                let expected = json!({"echo": format!("text={text:?}")});
                assert_eq!(response.data(), &expected, "{literal}");
            }
            None => drop(response.error_text().to_owned()),
        }
    }
    // A comment may have any text. The positions after it are those of the document.
    let response = send(
        "# \\ud83d \"\"\" \u{1F600}\n{echo(text:\"\\u{1F600}\") odd}",
        None,
    )
    .await;
    let error = &response.body["errors"][0];
    assert_eq!(error["locations"], json!([{"line": 2, "column": 25}]));
}

#[tokio::test]
async fn strings_in_variables_are_json() {
    let document = "query($v:String){echo(text:$v)}";
    let response = send(document, Some(r#""\ud83d\ude00 \\u{1F600}""#)).await;
    let expected = json!({"echo": format!("text={:?}", "😀 \\u{1F600}")});
    assert_eq!(response.data(), &expected);
    for value in [r#""\ud83d""#, r#""\u{1F600}""#, r#""\x""#] {
        assert_eq!(send(document, Some(value)).await.status, 400, "{value}");
    }
}
