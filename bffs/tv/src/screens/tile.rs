//! A title in a row, and the backdrop and subtitle of a title.

use bff_services::product;
use serde::Serialize;
use utoipa::ToSchema;

/// The width of a backdrop, in pixels.
const BACKDROP_WIDTH: u32 = 1920;

/// A title in a row.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tile {
    /// Its id.
    #[schema(example = "p-1")]
    pub id: String,
    /// Its title.
    pub title: String,
    /// The URL of its backdrop, 1920 pixels wide.
    pub backdrop: String,
    /// Its year and its length.
    #[schema(example = "2019 · 102 min")]
    pub subtitle: String,
    /// The path to prefetch when the tile gets the focus.
    #[schema(example = "/v1/titles/p-1")]
    pub focus: String,
}

impl From<&product::Product> for Tile {
    fn from(wire: &product::Product) -> Self {
        Self {
            id: (&wire.id).into(),
            title: wire.name.clone(),
            backdrop: backdrop_url(&wire.image),
            subtitle: subtitle(wire),
            // An id has no characters that a path must escape.
            focus: format!("/v1/titles/{}", wire.id),
        }
    }
}

/// The tiles of a list of products.
pub fn tiles(wire: &[product::Product]) -> Vec<Tile> {
    wire.iter().map(Tile::from).collect()
}

/// The URL of an image, scaled to the width of a backdrop.
pub(super) fn backdrop_url(image: &product::Image) -> String {
    let separator = if image.url.contains('?') { '&' } else { '?' };
    format!("{}{separator}w={BACKDROP_WIDTH}", image.url)
}

/// The year and the length of a product.
pub(super) fn subtitle(wire: &product::Product) -> String {
    format!("{} · {} min", wire.year, wire.runtime_minutes)
}
