//! The playback service.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::proto::playback_server::Playback;
use super::proto::{
    GetManifestRequest, HeartbeatReply, HeartbeatRequest, ListPositionsRequest,
    ListPositionsResponse, Manifest, Position, SavePositionRequest, Stream as Rendition,
};
use super::state::{State, duration_s, new_position};
use crate::catalogue::{CATALOGUE, CatalogueEntry};

/// The time for which the URLs of a manifest are valid, in seconds.
const MANIFEST_TTL_S: i64 = 6 * 60 * 60;
/// The interval of heartbeats, in seconds.
const HEARTBEAT_INTERVAL_S: u32 = 10;

/// The device classes: name, maximum height, codecs in order of preference, DRM system.
const CLASSES: [(&str, u32, &[&str], &str); 6] = [
    ("tv-uhd", 2160, &["av01", "hev1", "avc1"], "widevine"),
    ("tv-hd", 1080, &["hev1", "avc1"], "playready"),
    ("tv-basic", 720, &["avc1"], "playready"),
    ("tablet", 1080, &["hev1", "avc1"], "widevine"),
    ("phone", 720, &["hev1", "avc1"], "widevine"),
    ("browser", 1080, &["av01", "avc1"], "widevine"),
];

/// The heights and their bit rates in kbit/s.
const RENDITIONS: [(u32, u32); 5] = [
    (2160, 16_000),
    (1080, 6_000),
    (720, 3_000),
    (480, 1_400),
    (240, 400),
];

/// The implementation of the service.
pub(super) struct Service {
    pub(super) state: Arc<State>,
}

#[tonic::async_trait]
impl Playback for Service {
    async fn get_manifest(
        &self,
        request: Request<GetManifestRequest>,
    ) -> Result<Response<Manifest>, Status> {
        let input = request.into_inner();
        let class = CLASSES
            .into_iter()
            .find(|(name, ..)| *name == input.device_class);
        let (name, max_height, codecs, default_drm) =
            class.ok_or_else(|| Status::invalid_argument("unknown device_class"))?;
        let drm = input.drm.unwrap_or_else(|| default_drm.to_owned());
        if !matches!(drm.as_str(), "widevine" | "playready" | "fairplay") {
            return Err(Status::invalid_argument("unknown drm"));
        }
        let entry = find(&input.product_id)?;
        let base = format!("https://stream.example/{}/{name}", entry.product.id);
        Ok(Response::new(Manifest {
            url: format!("{base}/manifest.mpd"),
            codecs: codecs.iter().map(|codec| (*codec).to_owned()).collect(),
            max_height,
            streams: renditions(&base, max_height, codecs),
            drm,
            expires_at: self.state.clock.now().unix() + MANIFEST_TTL_S,
            product_id: input.product_id,
        }))
    }

    async fn list_positions(
        &self,
        request: Request<ListPositionsRequest>,
    ) -> Result<Response<ListPositionsResponse>, Status> {
        let user = caller(&request)?;
        let limit = match request.into_inner().limit {
            0 => 20,
            n @ 1..=100 => usize::try_from(n).unwrap_or(20),
            _ => return Err(Status::invalid_argument("limit must be at most 100")),
        };
        let positions = self.state.list(&user, limit);
        Ok(Response::new(ListPositionsResponse { positions }))
    }

    async fn save_position(
        &self,
        request: Request<SavePositionRequest>,
    ) -> Result<Response<Position>, Status> {
        let user = caller(&request)?;
        let input = request.into_inner();
        let entry = find(&input.product_id)?;
        if input.position_s > duration_s(entry) {
            return Err(Status::invalid_argument("position_s is past the end"));
        }
        let saved = new_position(entry, input.position_s, self.state.clock.now());
        self.state.save(&user, saved.clone());
        Ok(Response::new(saved))
    }

    type HeartbeatStream = Pin<Box<dyn Stream<Item = Result<HeartbeatReply, Status>> + Send>>;

    async fn heartbeat(
        &self,
        request: Request<Streaming<HeartbeatRequest>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let user = caller(&request)?;
        let state = self.state.clone();
        let replies = request
            .into_inner()
            .map(move |heartbeat| heartbeat.and_then(|heartbeat| reply(&state, &user, &heartbeat)));
        Ok(Response::new(Box::pin(replies)))
    }
}

/// Saves the position, like `SavePosition`. A position past the end is rejected, which closes the stream.
fn reply(
    state: &State,
    user: &str,
    heartbeat: &HeartbeatRequest,
) -> Result<HeartbeatReply, Status> {
    let entry = CATALOGUE.by_id(&heartbeat.product_id);
    let now = state.clock.now();
    if let Some(entry) = entry {
        if heartbeat.position_s > duration_s(entry) {
            return Err(Status::invalid_argument("position_s is past the end"));
        }
        state.save(user, new_position(entry, heartbeat.position_s, now));
    }
    Ok(HeartbeatReply {
        next_in_s: HEARTBEAT_INTERVAL_S,
        keep_playing: entry.is_some(),
        server_time: now.unix(),
    })
}

fn renditions(base: &str, max_height: u32, codecs: &[&str]) -> Vec<Rendition> {
    let supported = RENDITIONS
        .into_iter()
        .filter(|(height, _)| *height <= max_height);
    let all = supported.flat_map(|(height, bitrate_kbps)| {
        codecs.iter().map(move |codec| Rendition {
            height,
            bitrate_kbps,
            codec: (*codec).to_owned(),
            url: format!("{base}/{height}-{codec}.mp4"),
        })
    });
    all.collect()
}

fn find(id: &str) -> Result<&'static CatalogueEntry, Status> {
    CATALOGUE
        .by_id(id)
        .ok_or_else(|| Status::not_found(format!("no product `{id}`")))
}

fn caller<T>(request: &Request<T>) -> Result<String, Status> {
    let id = request
        .metadata()
        .get("x-user-id")
        .and_then(|value| value.to_str().ok());
    let id = id.map(str::trim).filter(|id| !id.is_empty());
    id.map(str::to_owned)
        .ok_or_else(|| Status::unauthenticated("x-user-id is missing"))
}
