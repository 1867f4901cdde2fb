//! A title in a row, and the picture and the line both rows and pages show.

use bff_services::product;
use serde::Serialize;
use utoipa::ToSchema;

/// How wide a backdrop is, in pixels.
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
    /// Its backdrop, 1920 pixels wide.
    pub backdrop: String,
    /// Its year and length on one line.
    #[schema(example = "2019 · 102 min")]
    pub subtitle: String,
    /// What to fetch ahead once the tile has the focus.
    #[schema(example = "/v1/titles/p-1")]
    pub focus: String,
}

impl From<&product::Product> for Tile {
    fn from(wire: &product::Product) -> Self {
        Self {
            id: (&wire.id).into(),
            title: wire.name.clone(),
            backdrop: backdrop(&wire.image),
            subtitle: subtitle(wire),
            // An id has no character that a path would have to escape.
            focus: format!("/v1/titles/{}", wire.id),
        }
    }
}

/// Tiles of a list.
pub fn tiles(wire: &[product::Product]) -> Vec<Tile> {
    wire.iter().map(Tile::from).collect()
}

/// Where a picture is at the width of a big screen.
pub(super) fn backdrop(image: &product::Image) -> String {
    let joint = if image.url.contains('?') { '&' } else { '?' };
    format!("{}{joint}w={BACKDROP_WIDTH}", image.url)
}

/// Year and length on one line.
pub(super) fn subtitle(wire: &product::Product) -> String {
    format!("{} · {} min", wire.year, wire.runtime_minutes)
}
