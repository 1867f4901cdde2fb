//! The gRPC backend, called by its generated client over in-memory pipes.

use super::*;
use crate::playback::proto::playback_client::PlaybackClient;
use crate::playback::proto::{
    GetManifestRequest, HeartbeatRequest, ListPositionsRequest, SavePositionRequest,
};
use crate::{Fault, Mode};
use hyper_util::rt::TokioExecutor;
use tonic::{Code, Request, Status};

type Client = PlaybackClient<H2>;

/// hyper's HTTP/2 client as a tower service.
#[derive(Clone)]
struct H2(hyper::client::conn::http2::SendRequest<tonic::body::Body>);

impl tower::Service<http::Request<tonic::body::Body>> for H2 {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

async fn client(mocks: &Mocks) -> Client {
    let (near, far) = tokio::io::duplex(16 << 10);
    let mocks = mocks.clone();
    tokio::spawn(async move { connection(&mocks, Backend::Playback, far).await });
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near));
    let (sender, driver) = handshake.await.unwrap();
    tokio::spawn(driver);
    PlaybackClient::with_origin(H2(sender), http::Uri::from_static("http://mock"))
}

fn request_of<T>(user: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("x-user-id", user.parse().unwrap());
    request
}

fn manifest(product: &str, class: &str) -> GetManifestRequest {
    GetManifestRequest {
        product_id: product.to_owned(),
        device_class: class.to_owned(),
        drm: None,
    }
}

async fn manifest_error(mocks: &Mocks) -> Status {
    client(mocks)
        .await
        .get_manifest(manifest("p-1", "tv-hd"))
        .await
        .unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_manifest_matches_its_device_class() {
    let mocks = mocks();
    let mut client = client(&mocks).await;
    let response = client
        .get_manifest(manifest("p-1", "tv-hd"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (response.max_height, response.drm.as_str()),
        (1080, "playready")
    );
    assert!(response.streams.iter().all(|s| s.height <= 1080));
    let code =
        |result: Result<_, Status>| result.map(|_: tonic::Response<_>| ()).unwrap_err().code();
    assert_eq!(
        code(client.get_manifest(manifest("p-999", "tv-hd")).await),
        Code::NotFound
    );
    assert_eq!(
        code(client.get_manifest(manifest("p-1", "toaster")).await),
        Code::InvalidArgument
    );
    let stats = mocks.stats(Backend::Playback);
    assert_eq!((stats.calls, stats.cancelled), (3, 0));
    assert_eq!(stats.routes["/playback.v1.Playback/GetManifest"], 3);
}

#[tokio::test(start_paused = true)]
async fn positions_are_saved_for_their_caller() {
    let mut client = client(&mocks()).await;
    let anonymous = client
        .list_positions(ListPositionsRequest { limit: 0 })
        .await
        .unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated);
    let save = SavePositionRequest {
        product_id: "p-7".to_owned(),
        position_s: 61,
    };
    client
        .save_position(request_of("ada", save.clone()))
        .await
        .unwrap();
    let past = SavePositionRequest {
        position_s: u32::MAX,
        ..save
    };
    assert_eq!(
        client
            .save_position(request_of("ada", past))
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
    let list = client
        .list_positions(request_of("ada", ListPositionsRequest { limit: 2 }))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (list.positions.len(), list.positions[0].position_s),
        (2, 61)
    );
}

#[tokio::test(start_paused = true)]
async fn every_heartbeat_gets_a_reply() {
    let mut client = client(&mocks()).await;
    let heartbeat = |product: &str| HeartbeatRequest {
        product_id: product.to_owned(),
        position_s: 5,
    };
    let heartbeats = futures_util::stream::iter([heartbeat("p-1"), heartbeat("p-999")]);
    let mut replies = client
        .heartbeat(request_of("ada", heartbeats))
        .await
        .unwrap()
        .into_inner();
    assert!(replies.message().await.unwrap().unwrap().keep_playing);
    assert!(!replies.message().await.unwrap().unwrap().keep_playing);
    assert!(replies.message().await.unwrap().is_none());
    let past = HeartbeatRequest {
        position_s: u32::MAX,
        ..heartbeat("p-1")
    };
    let heartbeats = futures_util::stream::iter([past, heartbeat("p-1")]);
    let replies = client
        .heartbeat(request_of("ada", heartbeats))
        .await
        .unwrap();
    let mut replies = replies.into_inner();
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        replies.message().await.unwrap().is_none(),
        "the stream is closed"
    );
}

#[tokio::test(start_paused = true)]
async fn faults_become_grpc_errors() {
    let mocks = mocks();
    for (fault, code) in [
        (Fault::status(503), Code::Unavailable),
        (Fault::status(404), Code::NotFound),
        (Fault::mode(Mode::Malformed), Code::Internal),
    ] {
        mocks.set_fault(Backend::Playback, fault).unwrap();
        assert_eq!(manifest_error(&mocks).await.code(), code);
    }
    for mode in [Mode::Truncate, Mode::Reset, Mode::GzipBomb] {
        mocks
            .set_fault(Backend::Playback, Fault::mode(mode))
            .unwrap();
        assert_ne!(manifest_error(&mocks).await.code(), Code::Ok, "{mode:?}");
    }
    for mode in [Mode::Hang, Mode::Endless] {
        mocks.clear_stats();
        mocks
            .set_fault(Backend::Playback, Fault::mode(mode))
            .unwrap();
        let call = tokio::time::timeout(Duration::from_millis(200), manifest_error(&mocks));
        assert!(call.await.is_err());
        settle().await;
        assert_eq!(mocks.stats(Backend::Playback).cancelled, 1, "{mode:?}");
    }
}
