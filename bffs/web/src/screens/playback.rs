//! The playback page of a product: its manifest for browsers.

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::playback::{self, DeviceClass};
use bff_services::product::ProductId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Upstreams;

/// The playback page of a product: its manifest for browsers.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Playback {
    /// The manifest of the product.
    pub manifest: Manifest,
}

/// The manifest of a product.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The URL of the manifest file.
    pub url: String,
    /// The codecs in order of preference.
    #[schema(example = json!(["av01", "avc1"]))]
    pub codecs: Vec<String>,
    /// The maximum height of the picture, in pixels.
    pub max_height: u32,
    /// The streams, tallest first.
    pub streams: Vec<Stream>,
    /// The DRM system.
    #[schema(example = "widevine")]
    pub drm: String,
    /// The time at which the URLs expire, RFC 3339.
    pub expires_at: String,
}

/// One stream of a manifest.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// The height of the picture, in pixels.
    pub height: u32,
    /// The bit rate, in kilobits per second.
    pub bitrate_kbps: u32,
    /// The codec.
    #[schema(example = "avc1")]
    pub codec: String,
    /// The URL of the stream.
    pub url: String,
}

impl Playback {
    /// Fetches the manifest for browsers. It is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        id: &ProductId,
        fields: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let screen = ScreenBuilder::new(cx, fields);
        let fetch = up.playback.manifest(cx, id, DeviceClass::Browser);
        let manifest = screen
            .required("manifest", fetch, Manifest::from_wire)
            .await?;
        Ok(screen.build(Self { manifest }))
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
