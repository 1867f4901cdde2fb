//! A gRPC backend behind TLS, with a certificate of an authority of one's own.

use bff_core::context::Env;
use services_mock::{Backend, Mocks, Options};

use super::PAGE;
use crate::support::{TestFleet, tls};

/// Playback behind TLS: its address, and what counts its calls.
async fn served() -> (String, Mocks) {
    let mocks = Mocks::new(Options {
        seed: 1,
        issuer: String::new(),
        epoch: Env::real().now().into(),
    });
    let heard = mocks.clone();
    let url = tls::start_server(move |stream| {
        let mocks = mocks.clone();
        async move { services_mock::connection(&mocks, Backend::Playback, stream).await }
    });
    (url.await, heard)
}

/// A shop whose web and tv find playback there.
async fn fleet(url: &str, more: &str) -> TestFleet {
    let overlay = format!("[upstreams.playback]\nurl = \"{url}\"\n{more}\n");
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".into(), "tv".into()];
        for gateway in ["web", "tv"] {
            fleet.overlays.insert(gateway.into(), overlay.clone());
        }
    })
    .await
}

#[tokio::test]
async fn a_backend_is_believed_that_shows_a_certificate_of_the_authority_named() {
    let (url, mocks) = served().await;
    let ca = format!("ca_file = \"{}\"", tls::ca_file().display());
    let fleet = fleet(&url, &ca).await;
    let page = fleet.get("web", PAGE).await;
    assert_eq!(page.status, 200, "{}", page.body);
    let stats = mocks.stats(Backend::Playback);
    assert_eq!(stats.calls, 1, "it was this one that answered");
    assert!(stats.last_headers.contains_key("grpc-timeout"));
    // What is somebody's own goes the same way.
    let ada = fleet.bearer("ada");
    let headers = [("authorization", ada.as_str())];
    let rows = "/v1/browse?fields=continueWatching";
    let page = fleet.get_with("tv", rows, &headers).await;
    assert_eq!(page.section("continueWatching")["state"], "fresh");
    let stats = mocks.stats(Backend::Playback);
    assert_eq!((stats.calls, &*stats.last_headers["x-user-id"]), (2, "ada"));
}

#[tokio::test]
async fn one_of_an_authority_that_nobody_named_is_told_nothing() {
    let (url, mocks) = served().await;
    let fleet = fleet(&url, "").await;
    let page = fleet.get("web", PAGE).await;
    let told = (page.status.as_u16(), &page.body["code"]);
    assert_eq!(told, (503, &"unavailable".into()), "{}", page.body);
    assert_eq!(mocks.stats(Backend::Playback).calls, 0);
}

#[tokio::test]
async fn a_file_that_holds_no_certificate_is_told_at_start_up() {
    let mut fleet = fleet::Fleet {
        ports: fleet::Ports::Free,
        only: vec!["web".into()],
        ..fleet::Fleet::default()
    };
    let key = crate::support::root().join("tests/tls/backend.key");
    let overlay = format!("[upstreams.playback]\nca_file = \"{}\"\n", key.display());
    fleet.overlays.insert("web".into(), overlay);
    let line = fleet::start(fleet).await.err().unwrap();
    let told = line.contains("upstreams.playback.ca_file") && line.contains("no certificate");
    assert!(told && line.lines().count() == 1, "{line}");
}
