//! The playback backend (50051), over gRPC. Its API is in `proto/playback.proto`.
//!
//! - `GetManifest(product_id, device_class, drm?)`: not personal; `NOT_FOUND`, `INVALID_ARGUMENT`
//! - `ListPositions(limit)`, `SavePosition(product_id, position_s)`, `Heartbeat(stream)`: require `x-user-id`
//!   metadata (`UNAUTHENTICATED`)

mod service;
mod state;

#[expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::pedantic,
    reason = "generated"
)]
pub(crate) mod proto {
    tonic::include_proto!("playback.v1");
}

use std::sync::Arc;

use axum::Router;

use proto::playback_server::PlaybackServer;

pub(crate) use state::State;

pub(crate) fn routes(state: Arc<State>) -> Router {
    let server = PlaybackServer::new(service::Service { state });
    tonic::service::Routes::new(server).into_axum_router()
}
