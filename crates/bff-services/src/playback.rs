//! The playback backend: what to stream, and how far a caller has come. It speaks gRPC; the messages of
//! `proto/playback.proto` stay inside this file. Nothing is ever served stale: a manifest says who may play what.

use bff_core::error::codes;
use bff_core::grpc::{Call, Upstream, send};
use bff_core::{Caller, Failure, Fetched, Public, RequestContext};
use serde::Deserialize;
use tonic_prost::ProstCodec;

use crate::product::ProductId;
use crate::{Items, Timestamp, error_mapping};

pub use heartbeat::{HeartbeatReply, HeartbeatStream, is_past_the_end};

mod heartbeat;

#[expect(unreachable_pub, clippy::pedantic, reason = "generated")]
mod proto {
    tonic::include_proto!("playback.v1");
}

/// What kind of device plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceClass {
    /// A television of 2160 lines.
    TvUhd,
    /// A television of 1080 lines.
    TvHd,
    /// An old television.
    TvBasic,
    /// A tablet.
    Tablet,
    /// A phone.
    Phone,
    /// A browser.
    Browser,
}

impl DeviceClass {
    /// The word, as the wire has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TvUhd => "tv-uhd",
            Self::TvHd => "tv-hd",
            Self::TvBasic => "tv-basic",
            Self::Tablet => "tablet",
            Self::Phone => "phone",
            Self::Browser => "browser",
        }
    }
}

/// What a device plays for one product.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Of what.
    pub product_id: ProductId,
    /// Where the manifest itself is.
    pub url: String,
    /// In order of preference, for instance `hev1`, `avc1`.
    pub codecs: Vec<String>,
    /// The tallest picture, in pixels.
    pub max_height: u32,
    /// Tallest first.
    pub streams: Vec<Stream>,
    /// How it is protected, for instance `widevine`.
    pub drm: String,
    /// Until when the addresses are good.
    pub expires_at: Timestamp,
}

/// One way to play it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// In pixels.
    pub height: u32,
    /// In kilobits a second.
    pub bitrate_kbps: u32,
    /// The codec.
    pub codec: String,
    /// Where it is.
    pub url: String,
}

/// How far a caller has come in one product.
#[derive(Clone, Debug)]
pub struct Position {
    /// Of what.
    pub product_id: ProductId,
    /// In seconds from the start.
    pub position_s: u32,
    /// How long it is, in seconds.
    pub duration_s: u32,
    /// When it was watched last.
    pub updated_at: Timestamp,
}

/// The calls about playing.
#[derive(Clone, Debug)]
pub struct PlaybackClient(Upstream);

impl PlaybackClient {
    /// A client of the backend at `up`.
    pub fn new(up: Upstream) -> Self {
        Self(up)
    }

    /// What a device of a class plays for one product, protected as the class prefers.
    pub async fn manifest(
        &self,
        cx: &RequestContext,
        id: &ProductId,
        device_class: DeviceClass,
    ) -> Result<Fetched<Manifest, Public>, Failure> {
        let message = proto::GetManifestRequest {
            product_id: id.to_string(),
            device_class: device_class.as_str().to_owned(),
            drm: None,
        };
        let call = Call::read(Public, "/playback.v1.Playback/GetManifest", message);
        send(cx, &self.0, call, ProstCodec::default, manifest).await
    }

    /// How far the caller has come in what they watched last, newest first; at most 100.
    pub async fn positions(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        limit: u32,
    ) -> Result<Fetched<Items<Position>, Caller>, Failure> {
        let message = proto::ListPositionsRequest { limit };
        let route = "/playback.v1.Playback/ListPositions";
        let call = Call::read(caller.clone(), route, message);
        send(cx, &self.0, call, ProstCodec::default, positions).await
    }

    /// Remembers how far the caller has come in one product; a second time changes nothing.
    pub async fn save_position(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &ProductId,
        position_s: u32,
    ) -> Result<Fetched<Position, Caller>, Failure> {
        let message = proto::SavePositionRequest {
            product_id: id.to_string(),
            position_s,
        };
        let route = "/playback.v1.Playback/SavePosition";
        let call = Call::write(caller.clone(), route, message).repeatable();
        let outcome = send(cx, &self.0, call, ProstCodec::default, position).await;
        error_mapping::map_status(outcome, 422, codes::VALIDATION_FAILED)
    }
}

fn manifest(wire: proto::Manifest) -> Result<Manifest, &'static str> {
    // Every member is optional on the wire: what nothing can be played without is asked for here.
    if wire.url.is_empty() {
        return Err("a manifest has no url");
    }
    let streams = wire.streams.into_iter().map(|s| Stream {
        height: s.height,
        bitrate_kbps: s.bitrate_kbps,
        codec: s.codec,
        url: s.url,
    });
    Ok(Manifest {
        product_id: product_id(&wire.product_id)?,
        url: wire.url,
        codecs: wire.codecs,
        max_height: wire.max_height,
        streams: streams.collect(),
        drm: wire.drm,
        expires_at: moment(wire.expires_at)?,
    })
}

fn positions(wire: proto::ListPositionsResponse) -> Result<Items<Position>, &'static str> {
    let items = wire.positions.into_iter().map(position);
    Ok(Items {
        items: items.collect::<Result<_, _>>()?,
    })
}

fn position(wire: proto::Position) -> Result<Position, &'static str> {
    Ok(Position {
        product_id: product_id(&wire.product_id)?,
        position_s: wire.position_s,
        duration_s: wire.duration_s,
        updated_at: moment(wire.updated_at)?,
    })
}

fn product_id(text: &str) -> Result<ProductId, &'static str> {
    text.parse().map_err(|_| "a product_id is no identifier")
}

fn moment(seconds: i64) -> Result<Timestamp, &'static str> {
    Timestamp::from_unix(seconds).ok_or("a time is out of bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> proto::Manifest {
        let stream = proto::Stream {
            height: 2160,
            bitrate_kbps: 16_000,
            codec: "hev1".into(),
            url: "https://stream.example/p-1/2160.mp4".into(),
        };
        proto::Manifest {
            product_id: "p-1".into(),
            url: "https://stream.example/p-1/manifest.mpd".into(),
            codecs: vec!["hev1".into(), "avc1".into()],
            max_height: 2160,
            streams: vec![stream],
            drm: "widevine".into(),
            expires_at: 1_795_000_000,
        }
    }

    #[test]
    fn a_manifest_is_taken_over_whole() {
        let manifest = manifest(sample()).unwrap();
        assert_eq!(manifest.streams[0].height, 2160);
        assert_eq!(manifest.expires_at.unix(), 1_795_000_000);
    }

    #[test]
    fn an_answer_that_cannot_be_used_is_refused() {
        assert!(manifest(proto::Manifest::default()).is_err());
        let walking = proto::Manifest {
            product_id: "../p-1".into(),
            ..sample()
        };
        assert!(manifest(walking).is_err());
        let never = proto::Position {
            product_id: "p-1".into(),
            updated_at: i64::MAX,
            ..proto::Position::default()
        };
        let list = proto::ListPositionsResponse {
            positions: vec![never],
        };
        assert!(positions(list).is_err());
    }

    #[test]
    fn device_classes_are_written_as_configuration_reads_them() {
        let class: DeviceClass = serde_json::from_str("\"tv-uhd\"").unwrap();
        assert_eq!(class.as_str(), "tv-uhd");
    }
}
