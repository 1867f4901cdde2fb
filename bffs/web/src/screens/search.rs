//! What the catalogue holds for a text.

use async_graphql::SimpleObject;
use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::SearchResults;
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::card::{Card, cards};
use crate::Upstreams;

/// How many suggestions the page shows.
const SUGGESTIONS: u32 = 8;

/// What a search found.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct SearchPage {
    /// The products found.
    pub results: Results,
    /// How the text could go on.
    pub suggestions: Option<Vec<String>>,
}

/// One page of products found.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    /// How many there are in all.
    pub total: u64,
    /// This page.
    pub items: Vec<Card>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

impl SearchPage {
    /// Fetches results and suggestions side by side.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        text: &str,
        page: (u32, Option<&str>),
        want: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let (limit, cursor) = page;
        let page = ScreenBuilder::new(cx, want);
        let (results, suggestions) = try_join!(
            page.required(
                "results",
                up.product.search(cx, text, limit, cursor),
                Results::from_wire
            ),
            page.optional(
                "suggestions",
                up.product.suggestions(cx, text, SUGGESTIONS),
                |w| w.items.clone()
            ),
        )?;
        Ok(page.build(Self {
            results,
            suggestions,
        }))
    }
}

impl Results {
    fn from_wire(wire: &SearchResults) -> Self {
        Self {
            total: wire.total,
            items: cards(&wire.items),
            next_cursor: wire.next_cursor.clone(),
        }
    }
}
