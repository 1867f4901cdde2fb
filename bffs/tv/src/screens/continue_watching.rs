//! The row of titles to continue: positions from the playback backend, titles from the product backend.

use std::sync::Arc;

use bff_core::{Caller, Failure, Fetched, RequestContext};
use bff_services::playback::Position;
use bff_services::product::{Product, ProductId};
use bff_services::{Batch, Items};
use serde::Serialize;
use utoipa::ToSchema;

use super::tile::Tile;
use crate::Upstreams;

/// The maximum number of titles in the row.
const MAX_ITEMS: u32 = 10;

/// A title that the caller has started to watch.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resume {
    /// The title.
    #[serde(flatten)]
    pub tile: Tile,
    /// The position at which to continue, in seconds from the start.
    #[schema(example = 1260)]
    pub position_s: u32,
    /// The duration of the title, in seconds.
    #[schema(example = 6120)]
    pub duration_s: u32,
    /// The time at which it was last watched, RFC 3339.
    #[schema(example = "2026-11-25T20:15:00Z")]
    pub watched_at: String,
}

/// The caller's positions and their titles; no titles if there is no position.
pub type PositionsAndTitles = (Arc<Items<Position>>, Option<Arc<Batch<Product>>>);

/// Fetches the caller's positions, newest first, and then their titles.
pub async fn continue_watching(
    cx: &RequestContext,
    up: &Upstreams,
    caller: &Caller,
) -> Result<Fetched<PositionsAndTitles, Caller>, Failure> {
    let positions = up.playback.positions(cx, caller, MAX_ITEMS).await?;
    let items = positions.value.items.iter();
    let ids: Vec<ProductId> = items.map(|p| p.product_id.clone()).collect();
    let titles = match &ids[..] {
        [] => None,
        ids => Some(up.product.by_ids(cx, ids).await?),
    };
    Ok(positions.with(titles))
}

/// One entry for each position whose title is still in the catalogue, newest first.
pub fn resume_entries((positions, titles): &PositionsAndTitles) -> Vec<Resume> {
    let titles = titles.as_ref().map_or(&[][..], |batch| &batch.items);
    let entry = |position: &Position| {
        let title = titles
            .iter()
            .find(|title| title.id == position.product_id)?;
        Some(Resume {
            tile: Tile::from(title),
            position_s: position.position_s,
            duration_s: position.duration_s,
            watched_at: position.updated_at.into(),
        })
    };
    positions.items.iter().filter_map(entry).collect()
}
