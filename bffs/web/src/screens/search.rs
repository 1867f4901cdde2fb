//! The search page.

use async_graphql::SimpleObject;
use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::SearchResults;
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::card::{Card, cards};
use crate::Upstreams;

/// The number of suggestions on the page.
const SUGGESTIONS: u32 = 8;

/// The search page.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct SearchPage {
    /// The products that match.
    pub results: Results,
    /// Completions of the search text.
    pub suggestions: Option<Vec<String>>,
}

/// One page of search results.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    /// The number of products that match.
    pub total: u64,
    /// The products of this page.
    pub items: Vec<Card>,
    /// The cursor of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

impl SearchPage {
    /// Fetches the sections concurrently. Only `results` is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        text: &str,
        page: (u32, Option<&str>),
        fields: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let (limit, cursor) = page;
        let screen = ScreenBuilder::new(cx, fields);
        let (results, suggestions) = try_join!(
            screen.required(
                "results",
                up.product.search(cx, text, limit, cursor),
                Results::from_wire
            ),
            screen.optional(
                "suggestions",
                up.product.suggestions(cx, text, SUGGESTIONS),
                |w| w.items.clone()
            ),
        )?;
        Ok(screen.build(Self {
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
