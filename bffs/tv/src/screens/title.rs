//! The title screen.

use std::slice;

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::inventory::{self, OfferKind, Quality};
use bff_services::product::{self, ProductId};
use bff_services::review;
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::manifest::{Device, Manifest};
use super::tile::{Tile, backdrop_url, subtitle, tiles};
use crate::Upstreams;

/// The number of similar titles on the screen.
const SIMILAR: u32 = 10;

/// The title screen.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TitlePage {
    /// The title itself.
    pub title: Title,
    /// Its rating; null if it has no reviews.
    pub rating: Option<Rating>,
    /// Its availability in the caller's market.
    pub availability: Option<Availability>,
    /// Its manifest for the device class.
    pub manifest: Option<Manifest>,
    /// Similar titles.
    pub similar: Option<Vec<Tile>>,
}

/// A film or series.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Title {
    /// Its id.
    #[schema(example = "p-1")]
    pub id: String,
    /// Film or series.
    #[schema(example = "film")]
    pub kind: &'static str,
    /// Its title.
    pub name: String,
    /// Its year and its length.
    #[schema(example = "2019 · 102 min")]
    pub subtitle: String,
    /// A paragraph of text.
    pub description: String,
    /// The URL of its backdrop, 1920 pixels wide.
    pub backdrop: String,
    /// Its genres.
    pub genres: Vec<String>,
    /// The number of seasons; only for a series.
    pub seasons: Option<u32>,
    /// Its audience: `all`, `teen` or `adult`.
    #[schema(example = "teen")]
    pub maturity: &'static str,
    /// Its actors.
    pub cast: Vec<String>,
    /// Its director.
    pub director: String,
}

/// The rating of a title.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rating {
    /// The mean rating, 1 to 5.
    pub average: f64,
    /// The number of reviews.
    pub count: u64,
}

/// The availability of a title in a market.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// Whether the title has an offer.
    pub playable: bool,
    /// The best picture quality of all offers; null without offers.
    #[schema(example = "uhd")]
    pub quality: Option<&'static str>,
}

impl TitlePage {
    /// Fetches the sections concurrently. Only `title` is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        id: &ProductId,
        device: Device,
        fields: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let screen = ScreenBuilder::new(cx, fields);
        let (title, rating, availability, manifest, similar) = try_join!(
            screen.required("title", up.product.by_id(cx, id), Title::from_wire),
            screen.optional(
                "rating",
                up.review.summaries(cx, slice::from_ref(id)),
                |w| w.items.first().map(Rating::from_wire)
            ),
            screen.optional(
                "availability",
                up.inventory.of_product(cx, id),
                Availability::from_wire
            ),
            screen.optional(
                "manifest",
                up.playback.manifest(cx, id, device.class()),
                |w| Manifest::for_device(w, device)
            ),
            screen.optional("similar", up.product.similar(cx, id, SIMILAR), |w| tiles(
                &w.items
            )),
        )?;
        Ok(screen.build(Self {
            title,
            rating: rating.flatten(),
            availability,
            manifest,
            similar,
        }))
    }
}

impl Title {
    fn from_wire(wire: &product::Product) -> Self {
        Self {
            id: (&wire.id).into(),
            kind: wire.kind.as_str(),
            name: wire.name.clone(),
            subtitle: subtitle(wire),
            description: wire.description.clone(),
            backdrop: backdrop_url(&wire.image),
            genres: wire.genres.clone(),
            seasons: wire.seasons,
            maturity: wire.maturity.as_str(),
            cast: wire.cast.iter().map(|role| role.name.clone()).collect(),
            director: wire.director.clone(),
        }
    }
}

impl Rating {
    fn from_wire(wire: &review::Summary) -> Self {
        Self {
            average: wire.average,
            count: wire.count,
        }
    }
}

impl Availability {
    /// Ignores the stock of discs, and unknown kinds and qualities.
    fn from_wire(wire: &inventory::Availability) -> Self {
        let playable = || wire.offers.iter().filter(|o| o.kind != OfferKind::Other);
        let qualities = playable()
            .map(|o| o.quality)
            .filter(|q| *q != Quality::Other);
        Self {
            playable: playable().next().is_some(),
            quality: qualities.max().map(Quality::as_str),
        }
    }
}
