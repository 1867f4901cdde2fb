//! What the caller began and may go on with: positions from one backend, titles for them from another.

use std::sync::Arc;

use bff_core::{Caller, Failure, Fetched, RequestContext};
use bff_services::playback::Position;
use bff_services::product::{Product, ProductId};
use bff_services::{Batch, Items};
use serde::Serialize;
use utoipa::ToSchema;

use super::tile::Tile;
use crate::Upstreams;

/// How many the row holds.
const MAX_ITEMS: u32 = 10;

/// A title that the caller began.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resume {
    /// The title.
    #[serde(flatten)]
    pub tile: Tile,
    /// Where to go on, in seconds from the start.
    #[schema(example = 1260)]
    pub position_s: u32,
    /// How long it is, in seconds.
    #[schema(example = 6120)]
    pub duration_s: u32,
    /// When it was watched last.
    #[schema(example = "2026-11-25T20:15:00Z")]
    pub watched_at: String,
}

/// The positions, and the titles they are in; none where there is no position.
pub type PositionsAndTitles = (Arc<Items<Position>>, Option<Arc<Batch<Product>>>);

/// The caller's positions, newest first, then the titles they are in.
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

/// One entry for each position whose title is still there, newest first.
pub fn resumes((positions, titles): &PositionsAndTitles) -> Vec<Resume> {
    let titles = titles.as_ref().map_or(&[][..], |batch| &batch.items);
    let resume = |at: &Position| {
        let title = titles.iter().find(|title| title.id == at.product_id)?;
        Some(Resume {
            tile: Tile::from(title),
            position_s: at.position_s,
            duration_s: at.duration_s,
            watched_at: at.updated_at.into(),
        })
    };
    positions.items.iter().filter_map(resume).collect()
}
