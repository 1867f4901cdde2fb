//! The browse screen: the hero, the titles to continue, and rows that each have their own cursor.

use std::collections::HashSet;

use bff_core::server::GatewayBuilder;
use bff_core::{Failure, FieldSelection, GatewayPart, RequestContext, Screen, ScreenBuilder};
use bff_services::product::{Collection, CollectionId};
use serde::{Deserialize, Serialize};
use tokio::try_join;
use utoipa::ToSchema;

use super::continue_watching::{Resume, continue_watching, resume_entries};
use super::tile::{Tile, tiles};
use crate::Upstreams;

/// The number of tiles in the first page of a row.
const TILES: u32 = 10;
/// The collection whose first product is the hero.
const FEATURED: &str = "featured";

/// The table `[screens.browse]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BrowseConfig {
    /// The collections that are shown as rows, top to bottom.
    pub rows: Vec<CollectionId>,
}

/// The collections of the browse screen.
#[derive(Clone, Debug)]
pub struct BrowseRows {
    /// The collection whose first product is the hero.
    featured: CollectionId,
    /// The rows, top to bottom.
    rows: Vec<CollectionId>,
}

impl GatewayPart for BrowseRows {
    type Config = BrowseConfig;

    /// Rejects duplicate rows, because a row is identified by its collection.
    fn open(_: &GatewayBuilder<'_>, config: &BrowseConfig) -> Result<Self, String> {
        let mut rows = HashSet::new();
        if let Some(duplicate) = config.rows.iter().find(|id| !rows.insert(*id)) {
            return Err(format!("duplicate row {duplicate} in screens.browse.rows"));
        }
        Ok(Self {
            featured: FEATURED.parse().map_err(|e| format!("{FEATURED}: {e}"))?,
            rows: config.rows.clone(),
        })
    }
}

/// The browse screen.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Browse {
    /// The first featured title; null if no title is featured.
    #[schema(required)]
    pub hero: Option<Tile>,
    /// The titles to continue, newest first; null if the caller is not signed in.
    pub continue_watching: Option<Vec<Resume>>,
    /// The rows that could be fetched, top to bottom.
    pub rows: Vec<Row>,
}

/// The first page of a row.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its id.
    #[schema(example = "top-rated")]
    pub id: String,
    /// Its title.
    #[schema(example = "Top rated")]
    pub title: String,
    /// Its first tiles.
    pub items: Vec<Tile>,
    /// The cursor of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

impl Browse {
    /// Fetches the sections concurrently. Only `hero` is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        fields: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let screen = ScreenBuilder::new(cx, fields);
        let (hero, continue_watching, rows) = try_join!(
            screen.required(
                "hero",
                up.product.collection(cx, &up.browse.featured, None, 1),
                |w| w.items.first().map(Tile::from)
            ),
            screen.personal(
                "continueWatching",
                |caller| continue_watching(cx, up, caller),
                resume_entries
            ),
            screen.each(
                "rows",
                up.browse.rows.iter().cloned(),
                |id| {
                    let id = id.clone();
                    async move { up.product.collection(cx, &id, None, TILES).await }
                },
                Row::from_wire,
            ),
        )?;
        Ok(screen.build(Self {
            hero,
            continue_watching,
            rows,
        }))
    }
}

impl Row {
    fn from_wire(id: &CollectionId, wire: &Collection) -> Self {
        Self {
            id: id.into(),
            title: wire.title.clone(),
            items: tiles(&wire.items),
            next_cursor: wire.next_cursor.clone(),
        }
    }
}
