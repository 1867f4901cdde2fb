//! Everything the web shows about one product.

use async_graphql::SimpleObject;
use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::ProductId;
use bff_services::{Items, inventory, product, review, user};
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::card::{Card, Money, cards};
use crate::Upstreams;

/// How many reviews the page shows.
const REVIEWS: u32 = 10;
/// How many similar products it shows.
const SIMILAR: u32 = 8;
/// How many friends it names.
const FRIENDS: u32 = 5;

/// Everything the web shows about one product.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct ProductPage {
    /// The product itself.
    pub product: Product,
    /// What people wrote about it.
    pub reviews: Option<Reviews>,
    /// What can be had, in the caller's market.
    pub availability: Option<Availability>,
    /// What is like it.
    pub similar: Option<Vec<Card>>,
    /// Which of the caller's friends know it; null when nobody is signed in.
    pub friends: Option<Vec<FriendActivity>>,
}

/// A film or series in full.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Its id.
    #[schema(example = "p-1")]
    pub id: String,
    /// Film or series.
    #[schema(example = "film")]
    pub kind: &'static str,
    /// Its title.
    pub name: String,
    /// A paragraph of text.
    pub description: String,
    /// The id of its category.
    pub category: String,
    /// Its genres.
    pub genres: Vec<String>,
    /// The year it came out.
    pub year: u16,
    /// How long it (of a series: one episode) is, in minutes.
    pub runtime_minutes: u32,
    /// How many seasons, of a series.
    pub seasons: Option<u32>,
    /// Who may see it.
    #[schema(example = "teen")]
    pub maturity: &'static str,
    /// Its list price.
    pub price: Money,
    /// Its poster at full size.
    pub image: String,
    /// Who plays in it.
    pub cast: Vec<String>,
    /// Who directed it.
    pub director: String,
}

/// What people wrote.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Reviews {
    /// The mean rating, 1 to 5.
    pub average: f64,
    /// How many there are.
    pub count: u64,
    /// The newest.
    pub items: Vec<Review>,
}

/// One review.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Who wrote it.
    pub author: String,
    /// 1 to 5.
    pub rating: u8,
    /// Its headline.
    pub title: String,
    /// Its text.
    pub text: String,
    /// When, in RFC 3339.
    pub created_at: String,
}

/// What can be had in a market.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// The market.
    #[schema(example = "DE")]
    pub region: String,
    /// Whether anything can be had now.
    pub in_stock: bool,
    /// How it can be had.
    pub offers: Vec<Offer>,
}

/// One way to have it.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Buy, rent or stream.
    #[schema(example = "rent")]
    pub kind: &'static str,
    /// What it costs; null when it is included.
    pub price: Option<Money>,
    /// Picture quality.
    #[schema(example = "uhd")]
    pub quality: &'static str,
}

/// What a friend did with it.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct FriendActivity {
    /// The friend's name.
    pub name: String,
    /// Watched, rated or bought.
    #[schema(example = "watched")]
    pub action: &'static str,
    /// When, in RFC 3339.
    pub at: String,
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
        let (product, reviews, availability, similar, friends) = try_join!(
            page.required("product", up.product.by_id(cx, id), Product::from_wire),
            page.optional(
                "reviews",
                up.review.of_product(cx, id, REVIEWS, None),
                Reviews::from_wire
            ),
            page.optional(
                "availability",
                up.inventory.of_product(cx, id),
                Availability::from_wire
            ),
            page.optional("similar", up.product.similar(cx, id, SIMILAR), |w| cards(
                &w.items
            )),
            page.personal(
                "friends",
                |caller| up.user.friends_activity(cx, caller, Some(id), FRIENDS),
                FriendActivity::from_wire,
            ),
        )?;
        Ok(page.build(Self {
            product,
            reviews,
            availability,
            similar,
            friends,
        }))
    }
}

impl Product {
    fn from_wire(wire: &product::Product) -> Self {
        Self {
            id: (&wire.id).into(),
            kind: wire.kind.as_str(),
            name: wire.name.clone(),
            description: wire.description.clone(),
            category: wire.category.clone(),
            genres: wire.genres.clone(),
            year: wire.year,
            runtime_minutes: wire.runtime_minutes,
            seasons: wire.seasons,
            maturity: wire.maturity.as_str(),
            price: Money::from(&wire.price),
            image: wire.image.url.clone(),
            cast: wire.cast.iter().map(|role| role.name.clone()).collect(),
            director: wire.director.clone(),
        }
    }
}

impl Reviews {
    fn from_wire(wire: &review::Reviews) -> Self {
        let items = wire.items.iter().map(|r| Review {
            author: r.author.name.clone(),
            rating: r.rating,
            title: r.title.clone(),
            text: r.text.clone(),
            created_at: r.created_at.into(),
        });
        Self {
            average: wire.average,
            count: wire.count,
            items: items.collect(),
        }
    }
}

impl Availability {
    fn from_wire(wire: &inventory::Availability) -> Self {
        let offers = wire.offers.iter().map(|o| Offer {
            kind: o.kind.as_str(),
            price: o.price.as_ref().map(Money::from),
            quality: o.quality.as_str(),
        });
        Self {
            region: wire.region.clone(),
            in_stock: wire.stock != Some(0) && !wire.offers.is_empty(),
            offers: offers.collect(),
        }
    }
}

impl FriendActivity {
    fn from_wire(wire: &Items<user::Activity>) -> Vec<Self> {
        let one = |a: &user::Activity| Self {
            name: a.friend.name.clone(),
            action: a.action.as_str(),
            at: a.at.into(),
        };
        wire.items.iter().map(one).collect()
    }
}
