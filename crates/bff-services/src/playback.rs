//! The playback backend, over gRPC: manifests, and the playback positions of the caller.
//!
//! The messages of `proto/playback.proto` are private to this module. Nothing is served stale, because a manifest grants
//! playback rights.

use bff_core::grpc::{Call, Upstream};
use bff_core::outbound::omit_failed;
use bff_core::{Caller, Failure, Fetched, Public, RequestContext, UpstreamClient};
use bytes::Bytes;
use prost::Message;
use serde::Deserialize;
use tonic_prost::ProstCodec;

use crate::product::ProductId;
use crate::wire::error_mapping::map_invalid;
use crate::{Items, Timestamp};

pub use heartbeat::{HeartbeatReply, HeartbeatStream, is_past_the_end};

mod heartbeat;

#[expect(unreachable_pub, clippy::pedantic, reason = "generated")]
mod proto {
    tonic::include_proto!("playback.v1");
}

/// The class of the playback device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceClass {
    /// A television with 2160 lines.
    TvUhd,
    /// A television with 1080 lines.
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
    /// The value on the wire.
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

/// How a device streams one product.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The product.
    pub product_id: ProductId,
    /// The URL of the manifest file.
    pub url: String,
    /// The codecs in order of preference, for instance `hev1`, `avc1`.
    pub codecs: Vec<String>,
    /// The maximum height of the picture, in pixels.
    pub max_height: u32,
    /// The streams, tallest first.
    pub streams: Vec<Stream>,
    /// The DRM system, for instance `widevine`.
    pub drm: String,
    /// The time at which the URLs expire.
    pub expires_at: Timestamp,
}

/// One stream of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The height of the picture, in pixels.
    pub height: u32,
    /// The bit rate, in kilobits per second.
    pub bitrate_kbps: u32,
    /// The codec.
    pub codec: String,
    /// The URL of the stream.
    pub url: String,
}

/// The caller's playback position in one product.
#[derive(Clone, Debug)]
pub struct Position {
    /// The product.
    pub product_id: ProductId,
    /// The position, in seconds from the start.
    pub position_s: u32,
    /// The duration of the product, in seconds.
    pub duration_s: u32,
    /// The time at which the position was saved.
    pub updated_at: Timestamp,
}

/// The client of the playback backend.
#[derive(Clone, Debug)]
pub struct PlaybackClient(Upstream);

impl UpstreamClient for PlaybackClient {
    type Upstream = Upstream;

    fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }
}

impl PlaybackClient {
    /// Returns the manifest of one product for a device class, with the default DRM system of that class.
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
        self.0
            .send(cx, call, ProstCodec::default, decode_manifest)
            .await
    }

    /// Returns the caller's playback positions, newest first. `limit` is at most 100.
    pub async fn positions(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        limit: u32,
    ) -> Result<Fetched<Items<Position>, Caller>, Failure> {
        let message = proto::ListPositionsRequest { limit };
        let route = "/playback.v1.Playback/ListPositions";
        let call = Call::read(caller.clone(), route, message);
        self.0
            .send(cx, call, ProstCodec::default, |wire| {
                Ok(decode_positions(wire))
            })
            .await
    }

    /// Saves the caller's position in one product. The call is idempotent.
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
        let call = Call::write(caller.clone(), route, message).idempotent();
        let outcome = self
            .0
            .send(cx, call, ProstCodec::default, decode_position)
            .await;
        map_past_the_end(outcome)
    }
}

/// The backend checks one rule of a position: that it is within the title.
fn map_past_the_end<T>(outcome: Result<T, Failure>) -> Result<T, Failure> {
    map_invalid(outcome, "/positionS", "past the end of the title")
}

fn decode_manifest(wire: proto::Manifest) -> Result<Manifest, &'static str> {
    // Protobuf has no required fields: playback needs a URL.
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
        product_id: parse_product_id(&wire.product_id)?,
        url: wire.url,
        codecs: wire.codecs,
        max_height: wire.max_height,
        streams: streams.collect(),
        drm: wire.drm,
        expires_at: decode_timestamp(wire.expires_at)?,
    })
}

/// A `ListPositionsResponse` whose positions are not decoded yet: one invalid position does not end the list.
#[derive(Clone, PartialEq, prost::Message)]
struct RawPositions {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    positions: Vec<Bytes>,
}

fn decode_positions(wire: RawPositions) -> Items<Position> {
    let position = |bytes: Bytes| {
        let wire = proto::Position::decode(bytes);
        decode_position(wire.map_err(|_| "a position does not decode")?)
    };
    Items {
        items: omit_failed(wire.positions.into_iter().map(position)),
    }
}

fn decode_position(wire: proto::Position) -> Result<Position, &'static str> {
    Ok(Position {
        product_id: parse_product_id(&wire.product_id)?,
        position_s: wire.position_s,
        duration_s: wire.duration_s,
        updated_at: decode_timestamp(wire.updated_at)?,
    })
}

fn parse_product_id(text: &str) -> Result<ProductId, &'static str> {
    text.parse()
        .map_err(|_| "a product_id is not a valid identifier")
}

fn decode_timestamp(seconds: i64) -> Result<Timestamp, &'static str> {
    Timestamp::from_unix(seconds).ok_or("a timestamp is out of range")
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
    fn a_manifest_decodes() {
        let manifest = decode_manifest(sample()).unwrap();
        assert_eq!(manifest.streams[0].height, 2160);
        assert_eq!(manifest.expires_at.unix(), 1_795_000_000);
    }

    #[test]
    fn an_invalid_response_is_an_error() {
        assert!(decode_manifest(proto::Manifest::default()).is_err());
        let path_traversal = proto::Manifest {
            product_id: "../p-1".into(),
            ..sample()
        };
        assert!(decode_manifest(path_traversal).is_err());
    }

    #[test]
    fn a_list_omits_the_positions_that_do_not_decode() {
        let position = |updated_at| proto::Position {
            product_id: "p-1".into(),
            updated_at,
            ..proto::Position::default()
        };
        let positions = [position(1), position(i64::MAX), position(2)];
        let mut positions: Vec<Bytes> = positions.map(|p| p.encode_to_vec().into()).into();
        positions.push(Bytes::from_static(b"\x0a\x01\xff"));
        let decoded = decode_positions(RawPositions { positions }).items;
        let times: Vec<_> = decoded.iter().map(|p| p.updated_at.unix()).collect();
        assert_eq!(times, [1, 2]);
    }

    #[test]
    fn device_classes_have_one_spelling() {
        let class: DeviceClass = serde_json::from_str("\"tv-uhd\"").unwrap();
        assert_eq!(class.as_str(), "tv-uhd");
    }
}
