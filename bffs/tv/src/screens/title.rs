//! Everything the tv shows about one title.

use std::slice;

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::inventory::{self, OfferKind, Quality};
use bff_services::product::{self, ProductId};
use bff_services::review;
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::manifest::{Device, Manifest};
use super::tile::{Tile, backdrop, subtitle, tiles};
use crate::Upstreams;

/// How many similar titles the screen shows.
const SIMILAR: u32 = 10;

/// Everything the tv shows about one title.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TitlePage {
    /// The title itself.
    pub title: Title,
    /// What people think of it; null also where nobody has said.
    pub rating: Option<Rating>,
    /// Whether it can be played, in the caller's market.
    pub availability: Option<Availability>,
    /// What the set plays.
    pub manifest: Option<Manifest>,
    /// What is like it.
    pub similar: Option<Vec<Tile>>,
}

/// A film or series in full.
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
    /// Its year and length on one line.
    #[schema(example = "2019 · 102 min")]
    pub subtitle: String,
    /// A paragraph of text.
    pub description: String,
    /// Its backdrop, 1920 pixels wide.
    pub backdrop: String,
    /// Its genres.
    pub genres: Vec<String>,
    /// How many seasons, of a series.
    pub seasons: Option<u32>,
    /// Who may see it.
    #[schema(example = "teen")]
    pub maturity: &'static str,
    /// Who plays in it.
    pub cast: Vec<String>,
    /// Who directed it.
    pub director: String,
}

/// What people think of a title, in two numbers.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rating {
    /// The mean rating, 1 to 5.
    pub average: f64,
    /// How many reviews there are.
    pub count: u64,
}

/// Whether a title can be played in a market.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// Whether there is a way to play it.
    pub playable: bool,
    /// The best picture of all ways; null when there is none.
    #[schema(example = "uhd")]
    pub quality: Option<&'static str>,
}

impl TitlePage {
    /// Fetches the sections side by side; only the title itself is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        id: &ProductId,
        device: Device,
        want: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let page = ScreenBuilder::new(cx, want);
        let (title, rating, availability, manifest, similar) = try_join!(
            page.required("title", up.product.by_id(cx, id), Title::from_wire),
            page.optional(
                "rating",
                up.review.summaries(cx, slice::from_ref(id)),
                |w| w.items.first().map(Rating::from_wire)
            ),
            page.optional(
                "availability",
                up.inventory.of_product(cx, id),
                Availability::from_wire
            ),
            page.optional(
                "manifest",
                up.playback.manifest(cx, id, device.class()),
                |w| Manifest::shape(w, device)
            ),
            page.optional("similar", up.product.similar(cx, id, SIMILAR), |w| tiles(
                &w.items
            )),
        )?;
        Ok(page.build(Self {
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
            backdrop: backdrop(&wire.image),
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
    /// Discs in stock do not matter to a set, nor do ways and qualities it does not know.
    fn from_wire(wire: &inventory::Availability) -> Self {
        let playable = || wire.offers.iter().filter(|o| o.kind != OfferKind::Other);
        let known = playable()
            .map(|o| o.quality)
            .filter(|q| *q != Quality::Other);
        Self {
            playable: playable().next().is_some(),
            quality: known.max().map(Quality::as_str),
        }
    }
}
