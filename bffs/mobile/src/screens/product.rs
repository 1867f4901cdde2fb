//! What mobile shows of one product: what fits on a phone.

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::ProductId;
use bff_services::{Items, inventory, product, review};
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::scaled;
use crate::Upstreams;

/// How many reviews the screen shows.
const REVIEWS: u32 = 3;
/// How many similar products it names.
const SIMILAR: u32 = 4;
/// How wide the poster is, in pixels.
const WIDTH: u32 = 640;

/// What mobile shows of one product.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductScreen {
    /// The product itself.
    pub product: Product,
    /// What people think of it.
    pub rating: Option<Rating>,
    /// Whether it can be had, in the caller's market.
    pub availability: Option<Availability>,
    /// What is like it.
    pub similar: Option<Vec<Similar>>,
}

/// A film or series in short.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Its id.
    #[schema(example = "p-1")]
    pub id: String,
    /// Its title.
    pub name: String,
    /// The first sentence about it.
    pub description: String,
    /// The year it came out.
    pub year: u16,
    /// How long it (of a series: one episode) is, in minutes.
    pub runtime_minutes: u32,
    /// Who may see it.
    #[schema(example = "teen")]
    pub maturity: &'static str,
    /// Its poster, 640 pixels wide.
    pub image: String,
}

/// What people think.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rating {
    /// The mean rating, 1 to 5.
    pub average: f64,
    /// How many reviews there are.
    pub count: u64,
    /// The newest of them.
    pub reviews: Vec<Review>,
}

/// One review in short.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Who wrote it.
    pub author: String,
    /// 1 to 5.
    pub rating: u8,
    /// Its headline.
    pub title: String,
}

/// Whether it can be had in a market.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// Whether it can be had now.
    pub in_stock: bool,
    /// The lowest price; null when nothing is sold apart from a subscription.
    pub cheapest: Option<Offer>,
}

/// One way to have it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Buy, rent or stream.
    #[schema(example = "rent")]
    pub kind: &'static str,
    /// What it costs.
    pub price: Money,
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

/// A product like it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Similar {
    /// Its id.
    #[schema(example = "p-2")]
    pub id: String,
    /// Its title.
    pub name: String,
}

impl ProductScreen {
    /// Fetches the sections side by side; only the product itself is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        id: &ProductId,
        want: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let page = ScreenBuilder::new(cx, want);
        let (product, rating, availability, similar) = try_join!(
            page.required("product", up.product.by_id(cx, id), Product::from_wire),
            page.optional(
                "rating",
                up.review.of_product(cx, id, REVIEWS, None),
                Rating::from_wire
            ),
            page.optional(
                "availability",
                up.inventory.of_product(cx, id),
                Availability::from_wire
            ),
            page.optional(
                "similar",
                up.product.similar(cx, id, SIMILAR),
                Similar::from_wire
            ),
        )?;
        Ok(page.build(Self {
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
            image: scaled(&wire.image, WIDTH),
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
                price: Money::from(price),
            }),
        }
    }
}

impl From<&bff_services::Money> for Money {
    fn from(wire: &bff_services::Money) -> Self {
        Self {
            amount: wire.amount,
            currency: wire.currency.clone(),
        }
    }
}

impl Similar {
    fn from_wire(wire: &Items<product::Product>) -> Vec<Self> {
        let one = |p: &product::Product| Self {
            id: (&p.id).into(),
            name: p.name.clone(),
        };
        wire.items.iter().map(one).collect()
    }
}

/// `text` up to the first full stop, exclamation or question mark that ends a word.
fn first_sentence(text: &str) -> &str {
    let text = text.trim();
    let end = text.char_indices().find_map(|(at, c)| {
        let after = at + c.len_utf8();
        let closes = matches!(c, '.' | '!' | '?' | '…');
        (closes && text[after..].starts_with(char::is_whitespace)).then_some(after)
    });
    end.map_or(text, |end| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::first_sentence;

    #[test]
    fn a_description_is_cut_after_its_first_sentence() {
        for (text, cut) in [
            ("A storm. A boat.", "A storm."),
            ("Who? She.", "Who?"),
            ("Version 2.0 of love… Again.", "Version 2.0 of love…"),
            ("No end", "No end"),
            ("One.", "One."),
            ("", ""),
        ] {
            assert_eq!(first_sentence(text), cut);
        }
    }
}
