//! The product screen.

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::ProductId;
use bff_services::{Batch, Money, product, review};
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::availability::Availability;
use crate::Upstreams;

/// The number of similar products on the screen.
const SIMILAR: u32 = 20;

/// The product screen.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductPage {
    /// The product itself.
    pub product: Product,
    /// Its rating; null if it has no reviews.
    pub rating: Option<Rating>,
    /// Its availability in the request's market.
    pub availability: Option<Availability>,
    /// The ids of similar products.
    pub similar: Option<Vec<String>>,
}

/// A film or series.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Its id.
    #[schema(example = "p-1")]
    pub id: String,
    /// Its title.
    pub title: String,
    /// Film or series.
    #[schema(example = "film")]
    pub kind: &'static str,
    /// The year of its release.
    pub year: u16,
    /// Its genres.
    pub genres: Vec<String>,
    /// Its list price. The price in a market is in its offers.
    pub list_price: Money,
    /// The time of the last change, RFC 3339.
    #[schema(example = "2026-06-01T12:00:00Z")]
    pub updated_at: String,
}

/// The rating of a product.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Rating {
    /// The mean rating, 1 to 5.
    pub average: f64,
    /// The number of reviews.
    pub count: u64,
}

impl ProductPage {
    /// Fetches the sections concurrently. Only `product` is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        id: &ProductId,
        fields: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let screen = ScreenBuilder::new(cx, fields);
        let ids = std::slice::from_ref(id);
        let (product, rating, availability, similar) = try_join!(
            screen.required("product", up.product.by_id(cx, id), Product::from_wire),
            screen.optional("rating", up.review.summaries(cx, ids), Rating::from_wire),
            screen.optional(
                "availability",
                up.inventory.of_product(cx, id),
                Availability::from_wire
            ),
            screen.optional("similar", up.product.similar(cx, id, SIMILAR), |w| {
                w.items.iter().map(|p| String::from(&p.id)).collect()
            }),
        )?;
        Ok(screen.build(Self {
            product,
            rating: rating.flatten(),
            availability,
            similar,
        }))
    }
}

impl Product {
    /// The product in the partners' format.
    pub(crate) fn from_wire(wire: &product::Product) -> Self {
        Self {
            id: (&wire.id).into(),
            title: wire.name.clone(),
            kind: wire.kind.as_str(),
            year: wire.year,
            genres: wire.genres.clone(),
            list_price: wire.price.clone(),
            updated_at: wire.updated_at.into(),
        }
    }
}

impl Rating {
    /// The rating in the only summary; `None` without reviews.
    fn from_wire(wire: &Batch<review::Summary>) -> Option<Self> {
        let summary = wire.items.first().filter(|s| s.count > 0);
        summary.map(|s| Self {
            average: s.average,
            count: s.count,
        })
    }
}
