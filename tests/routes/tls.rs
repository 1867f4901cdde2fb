//! Backends behind TLS that speak HTTP/2, with certificates of an authority of one's own.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial;
use super::echo::{PIECE, backend, shop_of};
use super::echoed;
use crate::support::{TestFleet, instant, send, tls};

/// The echoing backend behind TLS; answers its address.
async fn served() -> String {
    tls::start_server(|stream| async move {
        let service = TowerToHyperService::new(backend());
        let http = auto::Builder::new(TokioExecutor::new());
        let io = TokioIo::new(stream);
        http.serve_connection_with_upgrades(io, service).await.ok();
    })
    .await
}

/// A shop whose route leads there.
async fn fleet(route: &str) -> TestFleet {
    let (url, ca) = (served().await, tls::ca_file());
    let order = format!("url = \"{url}\"\nca_file = \"{}\"", ca.display());
    shop_of(&order, route).await
}

#[tokio::test]
async fn a_backend_that_speaks_http_2_is_spoken_to_in_it() {
    let fleet =
        fleet("credentials = [\"cookie\"]\nmax_body_bytes = 200000000\ntimeout = \"20s\"").await;
    let sent = [
        ("cookie", "a=1; b=2"),
        ("te", "trailers"),
        ("connection", "x-own"),
        ("x-own", "1"),
    ];
    let told = fleet.get_with("web", "/echo/a?b=%2F", &sent).await;
    assert_eq!(told.body["version"], "HTTP/2.0", "{}", told.body);
    assert!(told.body["uri"].as_str().unwrap().ends_with("/a?b=%2F"));
    for (name, value) in [
        ("cookie", "a=1; b=2"),
        ("te", ""),
        ("x-own", ""),
        ("connection", ""),
    ] {
        assert_eq!(echoed(&told, name), value, "{name}");
    }
    let url = |path: &str| format!("{}/echo/{path}", fleet.running.url("web"));
    let down = send(fleet.http.get(url("flood"))).await;
    assert_eq!(down.bytes().await.unwrap().len(), 100 * PIECE);
    let piece = Bytes::from(vec![1; PIECE]);
    let pieces = stream::iter(0..20).map(move |_| Ok::<_, std::io::Error>(piece.clone()));
    let up = fleet
        .http
        .post(url("count"))
        .body(reqwest::Body::wrap_stream(pieces));
    assert_eq!(
        send(up).await.text().await.unwrap(),
        (20 * PIECE).to_string()
    );
    let same = fleet
        .get_with("web", "/echo/tagged", &[("if-none-match", "\"a\"")])
        .await;
    assert_eq!((same.status.as_u16(), same.header("etag")), (304, "\"a\""));
    let head = send(fleet.http.head(url("tagged"))).await;
    assert_eq!(head.headers()["content-length"], "4");
}

#[tokio::test]
async fn what_http_2_has_no_words_for_is_said_in_http_1_1() {
    let fleet = fleet("host = \"client\"").await;
    let told = fleet
        .get_with("web", "/echo/a", &[("host", "shop.example")])
        .await;
    assert_eq!(told.body["version"], "HTTP/1.1", "{}", told.body);
    assert_eq!(echoed(&told, "host"), "shop.example");
}

#[tokio::test]
async fn whoever_waits_to_be_asked_for_a_body_is_asked_in_the_end() {
    let fleet = fleet("").await;
    let mut client = dial(&fleet).await;
    let ask = "POST /echo/count HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close\r\n\
               content-length: 4\r\n\r\n";
    let began = instant();
    client.write_all(ask.as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    client.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert!(began.elapsed() < Duration::from_millis(1500));
    client.write_all(b"abcd").await.unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert!(
        said.starts_with("HTTP/1.1 200") && said.ends_with('4'),
        "{said}"
    );
}

#[tokio::test]
async fn an_authority_that_nobody_named_counts_for_nothing() {
    let order = format!("url = \"{}\"", served().await);
    let fleet = shop_of(&order, "").await;
    let refused = fleet.get("web", "/echo/a").await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["code"]),
        (503, &"unavailable".into())
    );
    let mut fleet = fleet::Fleet {
        ports: fleet::Ports::Free,
        only: vec!["web".into()],
        ..fleet::Fleet::default()
    };
    let nowhere = "[upstreams.order]\nca_file = \"/nowhere.pem\"\n";
    fleet.overlays.insert("web".into(), nowhere.into());
    let line = fleet::start(fleet).await.err().unwrap();
    assert!(
        line.contains("upstreams.order.ca_file") && line.lines().count() == 1,
        "{line}"
    );
}
