//! The calls of the playback service.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::proto::playback_server::Playback;
use super::proto::{
    GetManifestRequest, HeartbeatReply, HeartbeatRequest, ListPositionsRequest,
    ListPositionsResponse, Manifest, Position, SavePositionRequest, Stream as Rendition,
};
use super::{duration_s, position};
use crate::catalogue::{CATALOGUE, Listed};
use crate::world::MockState;

/// How long a manifest's addresses stay good, in seconds.
const MANIFEST_TTL_S: i64 = 6 * 60 * 60;
const HEARTBEAT_S: u32 = 10;

/// What each class of device plays: name, tallest picture, codecs in order of preference, protection.
const CLASSES: [(&str, u32, &[&str], &str); 6] = [
    ("tv-uhd", 2160, &["av01", "hev1", "avc1"], "widevine"),
    ("tv-hd", 1080, &["hev1", "avc1"], "playready"),
    ("tv-basic", 720, &["avc1"], "playready"),
    ("tablet", 1080, &["hev1", "avc1"], "widevine"),
    ("phone", 720, &["hev1", "avc1"], "widevine"),
    ("browser", 1080, &["av01", "avc1"], "widevine"),
];

/// Heights with their bit rates.
const RENDITIONS: [(u32, u32); 5] = [
    (2160, 16_000),
    (1080, 6_000),
    (720, 3_000),
    (480, 1_400),
    (240, 400),
];

/// The service over one world.
pub(super) struct Service {
    pub(super) world: Arc<MockState>,
}

#[tonic::async_trait]
impl Playback for Service {
    async fn get_manifest(
        &self,
        request: Request<GetManifestRequest>,
    ) -> Result<Response<Manifest>, Status> {
        let wanted = request.into_inner();
        let class = CLASSES
            .into_iter()
            .find(|(name, ..)| *name == wanted.device_class);
        let (name, max_height, codecs, own_drm) =
            class.ok_or_else(|| Status::invalid_argument("unknown device_class"))?;
        let drm = wanted.drm.unwrap_or_else(|| own_drm.to_owned());
        if !matches!(drm.as_str(), "widevine" | "playready" | "fairplay") {
            return Err(Status::invalid_argument("unknown drm"));
        }
        let listed = find(&wanted.product_id)?;
        let base = format!("https://stream.example/{}/{name}", listed.product.id);
        Ok(Response::new(Manifest {
            url: format!("{base}/manifest.mpd"),
            codecs: codecs.iter().map(|codec| (*codec).to_owned()).collect(),
            max_height,
            streams: renditions(&base, max_height, codecs),
            drm,
            expires_at: self.world.clock.now().unix() + MANIFEST_TTL_S,
            product_id: wanted.product_id,
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
            _ => return Err(Status::invalid_argument("limit is at most 100")),
        };
        let positions = self.world.playback.list(&user, limit);
        Ok(Response::new(ListPositionsResponse { positions }))
    }

    async fn save_position(
        &self,
        request: Request<SavePositionRequest>,
    ) -> Result<Response<Position>, Status> {
        let user = caller(&request)?;
        let wanted = request.into_inner();
        let listed = find(&wanted.product_id)?;
        if wanted.position_s > duration_s(listed) {
            return Err(Status::invalid_argument("position_s lies past the end"));
        }
        let saved = position(listed, wanted.position_s, self.world.clock.now());
        self.world.playback.save(&user, saved.clone());
        Ok(Response::new(saved))
    }

    type HeartbeatStream = Pin<Box<dyn Stream<Item = Result<HeartbeatReply, Status>> + Send>>;

    async fn heartbeat(
        &self,
        request: Request<Streaming<HeartbeatRequest>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let user = caller(&request)?;
        let world = self.world.clone();
        let replies = request
            .into_inner()
            .map(move |beat| beat.and_then(|beat| reply(&world, &user, &beat)));
        Ok(Response::new(Box::pin(replies)))
    }
}

/// A beat saves the position too. One past the end is refused, and that status ends the stream.
fn reply(world: &MockState, user: &str, beat: &HeartbeatRequest) -> Result<HeartbeatReply, Status> {
    let listed = CATALOGUE.by_id(&beat.product_id);
    let now = world.clock.now();
    if let Some(listed) = listed {
        if beat.position_s > duration_s(listed) {
            return Err(Status::invalid_argument("position_s lies past the end"));
        }
        world
            .playback
            .save(user, position(listed, beat.position_s, now));
    }
    Ok(HeartbeatReply {
        next_in_s: HEARTBEAT_S,
        keep_playing: listed.is_some(),
        server_time: now.unix(),
    })
}

fn renditions(base: &str, max_height: u32, codecs: &[&str]) -> Vec<Rendition> {
    let fitting = RENDITIONS
        .into_iter()
        .filter(|(height, _)| *height <= max_height);
    let all = fitting.flat_map(|(height, bitrate_kbps)| {
        codecs.iter().map(move |codec| Rendition {
            height,
            bitrate_kbps,
            codec: (*codec).to_owned(),
            url: format!("{base}/{height}-{codec}.mp4"),
        })
    });
    all.collect()
}

fn find(id: &str) -> Result<&'static Listed, Status> {
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
