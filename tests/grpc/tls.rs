//! A gRPC backend behind TLS, with a private certificate authority.

use bff_core::context::Env;
use services_mock::{Backend, Mocks, Options};

use super::PAGE;
use crate::support::{TestFleet, tls};

/// Starts playback behind TLS. Returns its URL and the mocks that count its calls.
async fn start_backend() -> (String, Mocks) {
    let mocks = Mocks::new(Options {
        seed: 1,
        issuer: String::new(),
        epoch: Env::real().now().into(),
    });
    let stats_source = mocks.clone();
    let url = tls::start_server(move |stream| {
        let mocks = mocks.clone();
        async move { services_mock::connection(&mocks, Backend::Playback, stream).await }
    });
    (url.await, stats_source)
}

/// Starts web and tv with playback at this URL.
async fn start_fleet(url: &str, more: &str) -> TestFleet {
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
async fn a_certificate_of_the_configured_authority_is_accepted() {
    let (url, mocks) = start_backend().await;
    let ca = format!("ca_file = \"{}\"", tls::ca_file().display());
    let fleet = start_fleet(&url, &ca).await;
    let page = fleet.get("web", PAGE).await;
    assert_eq!(page.status, 200, "{}", page.body);
    let stats = mocks.stats(Backend::Playback);
    assert_eq!(stats.calls, 1, "the call went to another backend");
    assert!(stats.last_headers.contains_key("grpc-timeout"));
    // Calls for the caller's data use the same connection settings.
    let ada = fleet.bearer("ada");
    let headers = [("authorization", ada.as_str())];
    let rows = "/v1/browse?fields=continueWatching";
    let page = fleet.get_with("tv", rows, &headers).await;
    assert_eq!(page.section("continueWatching")["state"], "fresh");
    let stats = mocks.stats(Backend::Playback);
    assert_eq!((stats.calls, &*stats.last_headers["x-user-id"]), (2, "ada"));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_rejected() {
    let (url, mocks) = start_backend().await;
    let fleet = start_fleet(&url, "").await;
    let page = fleet.get("web", PAGE).await;
    let status_and_code = (page.status.as_u16(), &page.body["code"]);
    assert_eq!(
        status_and_code,
        (503, &"unavailable".into()),
        "{}",
        page.body
    );
    assert_eq!(mocks.stats(Backend::Playback).calls, 0);
}

#[tokio::test]
async fn a_file_without_a_certificate_is_a_startup_error() {
    let mut fleet = fleet::Fleet {
        ports: fleet::Ports::Free,
        only: vec!["web".into()],
        ..fleet::Fleet::default()
    };
    let key = crate::support::root().join("tests/tls/backend.key");
    let overlay = format!("[upstreams.playback]\nca_file = \"{}\"\n", key.display());
    fleet.overlays.insert("web".into(), overlay);
    let line = fleet::start(fleet).await.err().unwrap();
    let status_and_code =
        line.contains("upstreams.playback.ca_file") && line.contains("no certificate");
    assert!(status_and_code && line.lines().count() == 1, "{line}");
}
