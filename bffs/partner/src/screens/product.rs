//! What a partner learns about one product.

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::ProductId;
use bff_services::{Batch, Money as WireMoney, product, review};
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::availability::Availability;
use crate::Upstreams;

/// How many similar products are named.
const SIMILAR: u32 = 20;

/// What a partner learns about one product.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductPage {
    /// The product itself.
    pub product: Product,
    /// What people think of it; null when nobody rated it.
    pub rating: Option<Rating>,
    /// What can be had, in the request's market.
    pub availability: Option<Availability>,
    /// The ids of products like it.
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
    /// The year it came out.
    pub year: u16,
    /// Its genres.
    pub genres: Vec<String>,
    /// Its list price; what it costs in a market, its offers say.
    pub list_price: Money,
    /// When any of this last changed, in RFC 3339.
    #[schema(example = "2026-06-01T12:00:00Z")]
    pub updated_at: String,
}

/// All reviews in two numbers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Rating {
    /// The mean rating, 1 to 5.
    pub average: f64,
    /// How many there are.
    pub count: u64,
}

/// An amount of money.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Money {
    /// In minor units: cents for EUR.
    #[schema(example = 1299)]
    pub amount: i64,
    /// ISO 4217.
    #[schema(example = "EUR")]
    pub currency: String,
}

impl ProductPage {
    /// Fetches the sections side by side; only the product itself is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        id: &ProductId,
        want: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let page = ScreenBuilder::new(cx, want);
        let ids = std::slice::from_ref(id);
        let (product, rating, availability, similar) = try_join!(
            page.required("product", up.product.by_id(cx, id), Product::from_wire),
            page.optional("rating", up.review.summaries(cx, ids), Rating::from_wire),
            page.optional(
                "availability",
                up.inventory.of_product(cx, id),
                Availability::from_wire
            ),
            page.optional("similar", up.product.similar(cx, id, SIMILAR), |w| {
                w.items.iter().map(|p| String::from(&p.id)).collect()
            }),
        )?;
        Ok(page.build(Self {
            product,
            rating: rating.flatten(),
            availability,
            similar,
        }))
    }
}

impl Product {
    /// The partner's shape of a product.
    pub(crate) fn from_wire(wire: &product::Product) -> Self {
        Self {
            id: (&wire.id).into(),
            title: wire.name.clone(),
            kind: wire.kind.as_str(),
            year: wire.year,
            genres: wire.genres.clone(),
            list_price: Money::from(&wire.price),
            updated_at: wire.updated_at.into(),
        }
    }
}

impl Rating {
    /// The only summary there can be; none when nobody rated.
    fn from_wire(wire: &Batch<review::Summary>) -> Option<Self> {
        let rated = wire.items.first().filter(|s| s.count > 0);
        rated.map(|s| Self {
            average: s.average,
            count: s.count,
        })
    }
}

impl From<&WireMoney> for Money {
    fn from(wire: &WireMoney) -> Self {
        Self {
            amount: wire.amount,
            currency: wire.currency.clone(),
        }
    }
}
