//! The product screen.

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::ProductId;
use bff_services::{Items, Money, inventory, product, review};
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::scaled_url;
use crate::Upstreams;

/// The number of reviews on the screen.
const REVIEWS: u32 = 3;
/// The number of similar products on the screen.
const SIMILAR: u32 = 4;
/// The width of the poster, in pixels.
const IMAGE_WIDTH: u32 = 640;

/// The product screen.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductScreen {
    /// The product itself.
    pub product: Product,
    /// Its rating and newest reviews.
    pub rating: Option<Rating>,
    /// Its availability in the caller's market.
    pub availability: Option<Availability>,
    /// Similar products.
    pub similar: Option<Vec<Similar>>,
}

/// A film or series.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Its id.
    #[schema(example = "p-1")]
    pub id: String,
    /// Its title.
    pub name: String,
    /// The first sentence of its description.
    pub description: String,
    /// The year of its release.
    pub year: u16,
    /// The length of the film or of one episode, in minutes.
    pub runtime_minutes: u32,
    /// Its audience: `all`, `teen` or `adult`.
    #[schema(example = "teen")]
    pub maturity: &'static str,
    /// Its poster, 640 pixels wide.
    pub image: String,
}

/// The rating of a product.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rating {
    /// The mean rating, 1 to 5.
    pub average: f64,
    /// The number of reviews.
    pub count: u64,
    /// The newest reviews.
    pub reviews: Vec<Review>,
}

/// One review.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Its author.
    pub author: String,
    /// The rating, 1 to 5.
    pub rating: u8,
    /// Its headline.
    pub title: String,
}

/// The availability of a product in a market.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// Whether it can be bought, rented or streamed now.
    pub in_stock: bool,
    /// The offer with the lowest price; null if no offer has a price.
    pub cheapest: Option<Offer>,
}

/// An offer for a product.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Buy, rent or stream.
    #[schema(example = "rent")]
    pub kind: &'static str,
    /// The price.
    pub price: Money,
}

/// A similar product.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Similar {
    /// Its id.
    #[schema(example = "p-2")]
    pub id: String,
    /// Its title.
    pub name: String,
}

impl ProductScreen {
    /// Fetches the sections concurrently. Only `product` is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        id: &ProductId,
        fields: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let screen = ScreenBuilder::new(cx, fields);
        let (product, rating, availability, similar) = try_join!(
            screen.required("product", up.product.by_id(cx, id), Product::from_wire),
            screen.optional(
                "rating",
                up.review.of_product(cx, id, REVIEWS, None),
                Rating::from_wire
            ),
            screen.optional(
                "availability",
                up.inventory.of_product(cx, id),
                Availability::from_wire
            ),
            screen.optional(
                "similar",
                up.product.similar(cx, id, SIMILAR),
                Similar::from_wire
            ),
        )?;
        Ok(screen.build(Self {
            product,
            rating,
            availability,
            similar,
        }))
    }
}

impl Product {
    fn from_wire(wire: &product::Product) -> Self {
        Self {
            id: (&wire.id).into(),
            name: wire.name.clone(),
            description: first_sentence(&wire.description).to_owned(),
            year: wire.year,
            runtime_minutes: wire.runtime_minutes,
            maturity: wire.maturity.as_str(),
            image: scaled_url(&wire.image, IMAGE_WIDTH),
        }
    }
}

impl Rating {
    fn from_wire(wire: &review::Reviews) -> Self {
        let reviews = wire.items.iter().map(|r| Review {
            author: r.author.name.clone(),
            rating: r.rating,
            title: r.title.clone(),
        });
        Self {
            average: wire.average,
            count: wire.count,
            reviews: reviews.collect(),
        }
    }
}

impl Availability {
    fn from_wire(wire: &inventory::Availability) -> Self {
        let priced = wire.offers.iter().filter_map(|o| {
            let price = o.price.as_ref()?;
            Some((o.kind, price))
        });
        let cheapest = priced.min_by_key(|(_, price)| price.amount);
        Self {
            in_stock: wire.stock != Some(0) && !wire.offers.is_empty(),
            cheapest: cheapest.map(|(kind, price)| Offer {
                kind: kind.as_str(),
                price: price.clone(),
            }),
        }
    }
}

impl Similar {
    fn from_wire(wire: &Items<product::Product>) -> Vec<Self> {
        let similar = |p: &product::Product| Self {
            id: (&p.id).into(),
            name: p.name.clone(),
        };
        wire.items.iter().map(similar).collect()
    }
}

/// `text` up to the first full stop, exclamation mark or question mark before a space.
fn first_sentence(text: &str) -> &str {
    let text = text.trim();
    let end = text.char_indices().find_map(|(at, c)| {
        let after = at + c.len_utf8();
        let ends_sentence = matches!(c, '.' | '!' | '?' | '…');
        (ends_sentence && text[after..].starts_with(char::is_whitespace)).then_some(after)
    });
    end.map_or(text, |end| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::first_sentence;

    #[test]
    fn the_first_sentence_of_a_description() {
        for (text, sentence) in [
            ("A ship. A boat.", "A ship."),
            ("Who? She.", "Who?"),
            ("Version 2.0 of love… Again.", "Version 2.0 of love…"),
            ("No end", "No end"),
            ("One.", "One."),
            ("", ""),
        ] {
            assert_eq!(first_sentence(text), sentence);
        }
    }
}
