//! How a browser plays one product.

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::playback::{self, DeviceClass};
use bff_services::product::ProductId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Upstreams;

/// How a browser plays one product.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Playback {
    /// What is played, and how.
    pub manifest: Manifest,
}

/// What a browser plays.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Where the manifest itself is.
    pub url: String,
    /// In order of preference.
    #[schema(example = json!(["av01", "avc1"]))]
    pub codecs: Vec<String>,
    /// The tallest picture, in pixels.
    pub max_height: u32,
    /// Tallest first.
    pub streams: Vec<Stream>,
    /// How it is protected.
    #[schema(example = "widevine")]
    pub drm: String,
    /// Until when the addresses are good, in RFC 3339.
    pub expires_at: String,
}

/// One way to play it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// In pixels.
    pub height: u32,
    /// In kilobits a second.
    pub bitrate_kbps: u32,
    /// The codec.
    #[schema(example = "avc1")]
    pub codec: String,
    /// Where it is.
    pub url: String,
}

impl Playback {
    /// Fetches the manifest for browsers, without which there is nothing to show.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        id: &ProductId,
        want: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let page = ScreenBuilder::new(cx, want);
        let fetch = up.playback.manifest(cx, id, DeviceClass::Browser);
        let manifest = page
            .required("manifest", fetch, Manifest::from_wire)
            .await?;
        Ok(page.build(Self { manifest }))
    }
}

impl Manifest {
    fn from_wire(wire: &playback::Manifest) -> Self {
        let stream = |s: &playback::Stream| Stream {
            height: s.height,
            bitrate_kbps: s.bitrate_kbps,
            codec: s.codec.clone(),
            url: s.url.clone(),
        };
        Self {
            url: wire.url.clone(),
            codecs: wire.codecs.clone(),
            max_height: wire.max_height,
            streams: wire.streams.iter().map(stream).collect(),
            drm: wire.drm.clone(),
            expires_at: wire.expires_at.into(),
        }
    }
}
