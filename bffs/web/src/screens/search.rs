//! What the catalogue holds for a text.

use async_graphql::SimpleObject;
use bff_core::{Cx, Failure, Page, Screen, Want};
use bff_services::product::Found;
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
        cx: &Cx,
        up: &Upstreams,
        text: &str,
        page: (u32, Option<&str>),
        want: &Want,
    ) -> Result<Screen<Self>, Failure> {
        let (limit, cursor) = page;
        let page = Page::new(cx, want);
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
        Ok(page.finish(Self {
            results,
            suggestions,
        }))
    }
}

impl Results {
    fn from_wire(wire: &Found) -> Self {
        Self {
            total: wire.total,
            items: cards(&wire.items),
            next_cursor: wire.next_cursor.clone(),
        }
    }
}
