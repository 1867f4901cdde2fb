//! The tv's first screen: the hero, and rows that each go on by their own cursor.

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::{Collection, CollectionId};
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::continue_watching::{Resume, continue_watching, resumes};
use super::tile::{Tile, tiles};
use crate::{BrowseRows, Upstreams};

/// How many tiles a row begins with.
const TILES: u32 = 10;

/// The tv's first screen.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Browse {
    /// What the editors put first; null while they put nothing there.
    #[schema(required)]
    pub hero: Option<Tile>,
    /// What the caller began, latest first.
    pub continue_watching: Option<Vec<Resume>>,
    /// The rows that could be had, top to bottom.
    pub rows: Vec<Row>,
}

/// The beginning of a row.
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
    /// Where the row goes on; null at its end.
    pub next_cursor: Option<String>,
}

impl Browse {
    /// Fetches hero, rows and what the caller began side by side; only the hero is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        shelves: &BrowseRows,
        want: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let page = ScreenBuilder::new(cx, want);
        let (hero, continue_watching, rows) = try_join!(
            page.required(
                "hero",
                up.product.collection(cx, &shelves.featured, None, 1),
                |w| w.items.first().map(Tile::from)
            ),
            page.personal(
                "continueWatching",
                |caller| continue_watching(cx, up, caller),
                resumes
            ),
            page.each(
                "rows",
                shelves.rows.iter().cloned(),
                |id| {
                    let id = id.clone();
                    async move { up.product.collection(cx, &id, None, TILES).await }
                },
                Row::from_wire,
            ),
        )?;
        Ok(page.build(Self {
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
