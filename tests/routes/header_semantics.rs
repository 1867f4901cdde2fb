//! What client and backend say to each other in the words of HTTP, and what of it arrives.

use std::time::Duration;

use reqwest::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::echo::fleet;
use super::{dial, echoed, raw};
use crate::support::{JsonResponse, TestFleet, send};

/// A client that speaks HTTP/2 and nothing else.
#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
fn second() -> Client {
    bff_core::auth::install_crypto();
    let client = Client::builder().no_proxy().http2_prior_knowledge();
    client.build().unwrap()
}

async fn read(request: reqwest::RequestBuilder) -> JsonResponse {
    let response = send(request).await;
    JsonResponse {
        status: response.status(),
        headers: response.headers().clone(),
        body: response.json().await.unwrap(),
    }
}

#[tokio::test]
async fn http_2_is_passed_on_as_http_1_1_is() {
    let fleet = fleet("credentials = [\"cookie\"]\nmax_body_bytes = 3000000").await;
    let (http, url) = (second(), fleet.running.url("web"));
    let ask = (http.get(format!("{url}/echo/a?b=c")))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers");
    let told = read(ask).await;
    assert_eq!(told.status, 200);
    assert_eq!(
        (&told.body["uri"], &told.body["method"]),
        (&"/a?b=c".into(), &"GET".into())
    );
    let authority = url.replace("http://", "");
    for (name, value) in [
        ("cookie", "a=1; b=2"),
        ("te", ""),
        ("via", "2 web"),
        ("x-forwarded-host", authority.as_str()),
    ] {
        assert_eq!(echoed(&told, name), value, "{name}");
    }
    assert_ne!(echoed(&told, "host"), authority, "the backend's own");
    let up = http
        .post(format!("{url}/echo/count"))
        .body(vec![1; 2_000_000]);
    assert_eq!(send(up).await.text().await.unwrap(), "2000000");
    let down = send(http.get(format!("{url}/echo/flood"))).await;
    assert_eq!(down.bytes().await.unwrap().len(), 100 << 20);
    let head = send(http.head(format!("{url}/echo/tagged"))).await;
    assert_eq!(head.headers()["content-length"], "4");
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_backend_reads_the_name_that_the_route_says() {
    for (route, own) in [("", true), ("host = \"client\"", false)] {
        let fleet = fleet(route).await;
        let told = fleet
            .get_with("web", "/echo/a", &[("host", "shop.example:81")])
            .await;
        assert_eq!(echoed(&told, "x-forwarded-host"), "shop.example:81");
        assert_eq!(echoed(&told, "host") != "shop.example:81", own, "{route}");
        let url = fleet.running.url("web");
        let told = read(second().get(format!("{url}/echo/a"))).await;
        assert_eq!(
            echoed(&told, "host") != url.replace("http://", ""),
            own,
            "{route}"
        );
    }
}

#[tokio::test]
async fn a_query_arrives_byte_for_byte() {
    let fleet = fleet("").await;
    for query in [
        "?",
        "?a=%2F%2f&b=a+b&c=%zz&&=&d",
        "?a=../..//x;y&b=%00&c=%2e%2e%252e",
        "?not_found=1&perPage=2&a[]=1&a[]=2&x='(~)*!",
    ] {
        let said = raw(
            &fleet,
            &format!("GET /echo/a{query} HTTP/1.1\r\nhost: a\r\n\r\n"),
        )
        .await;
        assert!(said.starts_with("HTTP/1.1 200"), "{query}: {said}");
        let (_, body) = said.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["uri"], format!("/a{query}"));
    }
}

#[tokio::test]
async fn tags_and_conditions_are_between_client_and_backend() {
    let fleet = fleet("").await;
    for held in ["W/\"b\"", "\"b\"", "*"] {
        let response = fleet
            .get_with("web", "/echo/weak", &[("if-none-match", held)])
            .await;
        // The backend compares as it likes; a weak tag stays one.
        let wanted = if held == "W/\"b\"" { 304 } else { 200 };
        assert_eq!(
            (response.status.as_u16(), response.header("etag")),
            (wanted, "W/\"b\"")
        );
    }
    let ask = "GET /echo/weak HTTP/1.1\r\nhost: a\r\nif-none-match: W/\"b\"\r\n\r\n";
    let said = raw(&fleet, &ask.repeat(2)).await;
    assert_eq!(
        said.matches("HTTP/1.1 304").count(),
        2,
        "no body between them: {said}"
    );
}

#[tokio::test]
async fn credentials_stay_here_unless_the_route_names_them() {
    let sent = [
        ("authorization", "Bearer x"),
        ("cookie", "session=1"),
        ("x-api-key", "bffp_a_b"),
        ("proxy-authorization", "Basic x"),
    ];
    let passed = |fleet: TestFleet| async move {
        let told = fleet.get_with("web", "/echo/a", &sent).await;
        let back = fleet.get_with("web", "/echo/tagged", &[]).await;
        let arrived = sent.map(|(name, value)| echoed(&told, name) == value);
        (
            told.status.as_u16(),
            arrived,
            back.header("set-cookie").to_owned(),
        )
    };
    let nothing = [false; 4];
    // A credential that the gateway judges has to be good.
    assert_eq!(passed(fleet("").await).await.0, 401);
    let judged = fleet("credentials = [\"authorization\", \"cookie\"]").await;
    let wanted = (200, [true, true, false, false], "a=b".to_owned());
    assert_eq!(passed(judged).await, wanted);
    let ada = fleet("").await;
    let good = ada.bearer("ada");
    let told = ada
        .get_with("web", "/echo/a", &[("authorization", &good), sent[1]])
        .await;
    let arrived = sent.map(|(name, _)| !echoed(&told, name).is_empty());
    assert_eq!((told.status.as_u16(), arrived), (200, nothing));
    assert_eq!(echoed(&told, "x-user-id"), "ada");
}

/// Everything said up to the first blank line.
async fn head(client: &mut TcpStream) -> String {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(Duration::from_secs(3), client.read_u8());
        said.push(byte.await.unwrap().unwrap());
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn whoever_waits_to_be_asked_for_a_body_is_asked_only_if_the_backend_asks() {
    let fleet = fleet("").await;
    let ask = |path: &str| {
        format!(
            "POST /echo/{path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 30000\r\n\r\n"
        )
    };
    let mut client = dial(&fleet).await;
    client.write_all(ask("count").as_bytes()).await.unwrap();
    let said = head(&mut client).await;
    assert!(said.starts_with("HTTP/1.1 100"), "{said}");
    client.write_all(&vec![1; 30_000]).await.unwrap();
    let said = head(&mut client).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let mut count = [0; 5];
    client.read_exact(&mut count).await.unwrap();
    assert_eq!(&count, b"30000");
    // Refused by its head: the body is never asked for.
    let mut client = dial(&fleet).await;
    client.write_all(ask("refuse").as_bytes()).await.unwrap();
    let said = head(&mut client).await;
    assert!(said.starts_with("HTTP/1.1 403"), "{said}");
}

#[tokio::test]
async fn trailers_end_here() {
    let fleet = fleet("").await;
    let said = raw(
        &fleet,
        "GET /echo/trailed HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n",
    )
    .await;
    assert!(
        said.contains("abcd") && said.ends_with("0\r\n\r\n"),
        "{said}"
    );
    assert!(!said.to_lowercase().contains("x-sum"), "{said}");
    let sent = "POST /echo/count HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                4\r\nabcd\r\n0\r\nx-sum: 1\r\n\r\n";
    let said = raw(&fleet, sent).await;
    assert!(
        said.starts_with("HTTP/1.1 200") && said.ends_with("\r\n4"),
        "{said}"
    );
}

#[tokio::test]
async fn a_place_at_the_backend_is_held_to_the_end_of_the_body() {
    let fleet = fleet("[upstreams.order.bulkhead]\nmax_streams = 1").await;
    let url = format!("{}/echo/flood", fleet.running.url("web"));
    let mut flood = send(fleet.http.get(url)).await;
    flood.chunk().await.unwrap().unwrap();
    let refused = fleet.get("web", "/echo/a").await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["code"]),
        (503, &"overloaded".into())
    );
    while flood.chunk().await.unwrap().is_some() {}
    let mut status = 503;
    for _ in 0..50 {
        status = fleet.get("web", "/echo/a").await.status.as_u16();
        if status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(status, 200);
}
