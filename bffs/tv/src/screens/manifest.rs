//! What a set plays for one title: only what its class can show, in the order in which to try it.

use bff_services::Timestamp;
use bff_services::playback::{self, DeviceClass};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Fewer lines than these are no picture on a big screen, but a blur.
const FEWEST_LINES: u32 = 480;

/// What kind of set it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// 2160 lines.
    TvUhd,
    /// 1080 lines.
    #[default]
    TvHd,
    /// An old one, of 720 lines.
    TvBasic,
}

impl Device {
    /// The class, as the backend knows it.
    pub fn class(self) -> DeviceClass {
        match self {
            Self::TvUhd => DeviceClass::TvUhd,
            Self::TvHd => DeviceClass::TvHd,
            Self::TvBasic => DeviceClass::TvBasic,
        }
    }

    /// How many lines it shows.
    const fn lines(self) -> u32 {
        match self {
            Self::TvUhd => 2160,
            Self::TvHd => 1080,
            Self::TvBasic => 720,
        }
    }
}

/// What a set plays.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Where the manifest itself is.
    pub url: String,
    /// How it is protected.
    #[schema(example = "playready")]
    pub drm: String,
    /// In order of preference.
    #[schema(example = json!(["hev1", "avc1"]))]
    pub codecs: Vec<String>,
    /// The tallest picture that the set is given, in lines.
    #[schema(example = 1080)]
    pub max_height: u32,
    /// Tallest first, of one height the preferred codec first.
    pub streams: Vec<Stream>,
    /// Until when the addresses are good, at least: told by the hour, so that a screen is not new each second.
    #[schema(example = "2026-11-25T16:00:00Z")]
    pub expires_at: String,
}

/// One way to play it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// In lines.
    #[schema(example = 1080)]
    pub height: u32,
    /// In kilobits a second.
    #[schema(example = 6000)]
    pub bitrate_kbps: u32,
    /// The codec.
    #[schema(example = "hev1")]
    pub codec: String,
    /// Where it is.
    pub url: String,
}

/// The hour that has begun by then.
fn hour(at: Timestamp) -> Timestamp {
    Timestamp::from_unix(at.unix() - at.unix().rem_euclid(3600)).unwrap_or(at)
}

impl Manifest {
    /// What is fit for the set: no line that it cannot show, no codec that its class does not play.
    pub fn shape(wire: &playback::Manifest, device: Device) -> Self {
        let rank = |codec: &str| wire.codecs.iter().position(|c| c == codec);
        let fits = |s: &&playback::Stream| (FEWEST_LINES..=device.lines()).contains(&s.height);
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
            expires_at: hour(wire.expires_at).into(),
        }
    }
}
