//! The home page: featured products, categories and the first products of the catalogue.

use async_graphql::SimpleObject;
use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::CollectionId;
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::card::{Card, cards};
use crate::Upstreams;

/// The number of products in a list of the page.
const CARDS: u32 = 12;

/// The home page.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Home {
    /// The featured products.
    pub featured: Vec<Card>,
    /// The categories of the catalogue.
    pub categories: Option<Vec<Category>>,
    /// The first products of the catalogue.
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
    /// Fetches the sections concurrently. Only `featured` is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        featured: &CollectionId,
        fields: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let screen = ScreenBuilder::new(cx, fields);
        let (featured, categories, catalogue) = try_join!(
            screen.required(
                "featured",
                up.product.collection(cx, featured, None, CARDS),
                |w| cards(&w.items)
            ),
            screen.optional("categories", up.product.categories(cx), |w| {
                let category = |c: &bff_services::product::Category| Category {
                    id: c.id.clone(),
                    name: c.name.clone(),
                };
                w.items.iter().map(category).collect()
            }),
            screen.optional("catalogue", up.product.list(cx, 1, CARDS, None), |w| cards(
                &w.items
            )),
        )?;
        Ok(screen.build(Self {
            featured,
            categories,
            catalogue,
        }))
    }
}
