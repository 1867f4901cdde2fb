//! Request fields by their grammar, as far as a client or a backend sees the difference. The tables of all values are
//! beside the code that reads a field.

use super::{exchange, start};
use crate::routes::echo;

#[tokio::test]
async fn a_body_is_read_by_its_media_type_and_coding() {
    let fleet = start("").await;
    let ada = fleet.bearer("ada");
    let query = r#"{"query":"{ __typename }"}"#;
    for (fields, status) in [
        ("content-type: application/json", 200),
        ("content-type: Application/JSON ;\tcharset=\"UTF-8\"", 200),
        (
            "content-type: application/json\r\ncontent-encoding: identity",
            200,
        ),
        ("content-type: application/json\r\ncontent-encoding:", 200),
        (
            "content-type: application/json\r\ncontent-encoding: gzip",
            415,
        ),
        (
            "content-type: application/json\r\ncontent-encoding: identity, X-GZIP",
            415,
        ),
        (
            "content-type: application/json\r\ncontent-type: application/json",
            415,
        ),
        ("content-type: application/json, text/html", 415),
        ("content-type: application/json;charset=latin1", 415),
        ("content-type: application/json\r\naccept: */*;q=0", 406),
        (
            "content-type: application/json\r\naccept: , application/JSON;Q=0.001",
            200,
        ),
        (
            "content-type: application/json\r\naccept-encoding: *;q=0, X-Gzip;q=0.5",
            200,
        ),
        (
            "content-type: application/json\r\nrequest-timeout: 99999999999999999999",
            200,
        ),
        (
            "content-type: application/json\r\nrequest-timeout: 5, 5",
            400,
        ),
        (
            "content-type: application/json\r\ntraceparent: x\r\npriority: (",
            200,
        ),
    ] {
        let request = format!(
            "POST /graphql HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n{fields}\r\n\r\n{query}",
            query.len()
        );
        let response = exchange(&fleet, &request).await;
        assert_eq!(response.status(), status, "{fields}: {response:?}");
    }
    // The backend of a proxy route could read the other one of two media types.
    for fields in ["", "content-type: text/html"] {
        let request = format!(
            "POST /api/orders HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: BEARER  {}\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n{fields}\r\n\r\n{{}}",
            ada.trim_start_matches("Bearer ")
        );
        let request = request.replace("\r\n\r\n\r\n", "\r\n\r\n");
        let response = exchange(&fleet, &request).await;
        assert_eq!(response.status() == 415, !fields.is_empty(), "{response:?}");
        assert_ne!(response.status(), 401, "{response:?}");
    }
}

#[tokio::test]
async fn a_backend_receives_only_valid_fields() {
    let fleet = echo::start("").await;
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (fields, name, expected) in [
        (
            "connection: close, \tX-One,, x-two\r\nx-one: 1\r\nX-Two: 2",
            "x-two",
            None,
        ),
        (
            "connection: Keep-Alive\r\nconnection: X-One\r\nx-one: 1",
            "x-one",
            None,
        ),
        ("connection: close\r\nx-one: 1", "x-one", Some("1")),
        ("priority: i, u=6;a=\"b, u=0\"", "priority", Some("u=6")),
        ("priority: u=6\r\npriority: i", "priority", Some("u=6")),
        ("priority: u=6.0", "priority", Some("u=3")),
        ("priority: u=99999999999999999999", "priority", Some("u=3")),
        (
            &format!("{parent}\r\ntracestate: a=1, ,b=2"),
            "tracestate",
            Some("a=1, ,b=2"),
        ),
        (
            &format!("{parent}\r\ntracestate: a=1\r\ntracestate: B"),
            "tracestate",
            None,
        ),
        ("tracestate: a=1", "tracestate", None),
        ("x-request-id: a b", "x-request-id", Some("")),
        ("expect: 100-Continue, x", "content-length", None),
    ] {
        let fields = if fields.contains("connection: close") {
            fields.to_owned()
        } else {
            format!("{fields}\r\nconnection: close")
        };
        let request = format!("GET /echo/a HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n");
        let response = exchange(&fleet, &request).await;
        assert_eq!(response.status(), 200, "{fields}: {response:?}");
        let body = response.0.split_once("\r\n\r\n").unwrap().1;
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let received = body["headers"][name].as_str();
        match expected {
            // A value of the gateway's own.
            Some("") => assert_eq!(received.map(str::len), Some(36), "{fields}"),
            expected => assert_eq!(received, expected, "{fields}"),
        }
    }
}

#[tokio::test]
async fn a_client_address_is_read_by_the_grammar_of_forwarded() {
    for (value, allowed) in [
        ("for=192.0.2.1", true),
        ("For=\"192.0.2.1:80\";by=\"a, for=198.51.100.1\"", true),
        (", for=192.0.2.1 , ", true),
        ("for=198.51.100.1, for=192.0.2.1;proto=http", true),
        ("for=192.0.2.1, for=198.51.100.1", false),
        ("by=\"x;for=192.0.2.1\"", false),
    ] {
        let config = "[inbound]\ntrusted_proxies = [\"127.0.0.1\"]\nclient_ip_header = \"forwarded\"\nallow = [\"192.0.2.1\"]\n";
        let fleet = start(config).await;
        let request = format!(
            "GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\nforwarded: {value}\r\n\r\n"
        );
        let response = exchange(&fleet, &request).await;
        assert_eq!(response.status() == 200, allowed, "{value}: {response:?}");
    }
}
