//! The web's first page: what is featured, the categories, and what is new.

use async_graphql::SimpleObject;
use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::CollectionId;
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::card::{Card, cards};
use crate::Upstreams;

/// How many products a list of the page shows.
const CARDS: u32 = 12;

/// The web's first page.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Home {
    /// What the editors put first.
    pub featured: Vec<Card>,
    /// The catalogue's categories.
    pub categories: Option<Vec<Category>>,
    /// The catalogue's first page.
    pub catalogue: Option<Vec<Card>>,
}

/// A category.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
pub struct Category {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

impl Home {
    /// Fetches the sections side by side; the featured row is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        featured: &CollectionId,
        want: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let page = ScreenBuilder::new(cx, want);
        let (featured, categories, catalogue) = try_join!(
            page.required(
                "featured",
                up.product.collection(cx, featured, None, CARDS),
                |w| cards(&w.items)
            ),
            page.optional("categories", up.product.categories(cx), |w| {
                let one = |c: &bff_services::product::Category| Category {
                    id: c.id.clone(),
                    name: c.name.clone(),
                };
                w.items.iter().map(one).collect()
            }),
            page.optional("catalogue", up.product.list(cx, 1, CARDS, None), |w| cards(
                &w.items
            )),
        )?;
        Ok(page.build(Self {
            featured,
            categories,
            catalogue,
        }))
    }
}
