//! The manifest of a title: only the streams that the device class can play, the best first.

use bff_services::Timestamp;
use bff_services::playback::{self, DeviceClass};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Streams with fewer lines are not sent: they are too blurred on a large screen.
const MIN_LINES: u32 = 480;

/// The device class of the TV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// A TV with 2160 lines.
    TvUhd,
    /// A TV with 1080 lines.
    #[default]
    TvHd,
    /// An old TV with 720 lines.
    TvBasic,
}

impl Device {
    /// The device class in the backend's terms.
    pub fn class(self) -> DeviceClass {
        match self {
            Self::TvUhd => DeviceClass::TvUhd,
            Self::TvHd => DeviceClass::TvHd,
            Self::TvBasic => DeviceClass::TvBasic,
        }
    }

    /// The number of lines of its screen.
    const fn lines(self) -> u32 {
        match self {
            Self::TvUhd => 2160,
            Self::TvHd => 1080,
            Self::TvBasic => 720,
        }
    }
}

/// The manifest of a title.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The URL of the manifest file.
    pub url: String,
    /// The DRM system.
    #[schema(example = "playready")]
    pub drm: String,
    /// The codecs in order of preference.
    #[schema(example = json!(["hev1", "avc1"]))]
    pub codecs: Vec<String>,
    /// The maximum height of the picture, in lines.
    #[schema(example = 1080)]
    pub max_height: u32,
    /// The streams, tallest first, then by codec preference.
    pub streams: Vec<Stream>,
    /// The URLs are valid at least until this time. It is rounded down to the hour, so that the screen's `ETag` is stable.
    #[schema(example = "2026-11-25T16:00:00Z")]
    pub expires_at: String,
}

/// One stream of a manifest.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// The height of the picture, in lines.
    #[schema(example = 1080)]
    pub height: u32,
    /// The bit rate, in kilobits per second.
    #[schema(example = 6000)]
    pub bitrate_kbps: u32,
    /// The codec.
    #[schema(example = "hev1")]
    pub codec: String,
    /// The URL of the stream.
    pub url: String,
}

/// Rounds `at` down to the hour.
fn round_to_hour(at: Timestamp) -> Timestamp {
    Timestamp::from_unix(at.unix() - at.unix().rem_euclid(3600)).unwrap_or(at)
}

impl Manifest {
    /// Removes the streams that the device cannot show or decode.
    pub fn for_device(wire: &playback::Manifest, device: Device) -> Self {
        let rank = |codec: &str| wire.codecs.iter().position(|c| c == codec);
        let fits = |s: &&playback::Stream| (MIN_LINES..=device.lines()).contains(&s.height);
        let mut streams: Vec<_> = (wire.streams.iter())
            .filter(fits)
            .filter_map(|s| Some((rank(&s.codec)?, s)))
            .collect();
        streams.sort_by_key(|(rank, s)| (std::cmp::Reverse(s.height), *rank));
        let stream = |(_, s): (usize, &playback::Stream)| Stream {
            height: s.height,
            bitrate_kbps: s.bitrate_kbps,
            codec: s.codec.clone(),
            url: s.url.clone(),
        };
        Self {
            url: wire.url.clone(),
            drm: wire.drm.clone(),
            codecs: wire.codecs.clone(),
            max_height: wire.max_height.min(device.lines()),
            streams: streams.into_iter().map(stream).collect(),
            expires_at: round_to_hour(wire.expires_at).into(),
        }
    }
}
