//! The product page.

use async_graphql::SimpleObject;
use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::ProductId;
use bff_services::{Items, Money, inventory, product, review, user};
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::card::{Card, cards};
use crate::Upstreams;

/// The number of reviews on the page.
const REVIEWS: u32 = 10;
/// The number of similar products on the page.
const SIMILAR: u32 = 8;
/// The number of friends on the page.
const FRIENDS: u32 = 5;

/// The product page.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct ProductPage {
    /// The product itself.
    pub product: Product,
    /// Its reviews.
    pub reviews: Option<Reviews>,
    /// Its availability in the caller's market.
    pub availability: Option<Availability>,
    /// Similar products.
    pub similar: Option<Vec<Card>>,
    /// The actions of the caller's friends with the product; null if the caller is not signed in.
    pub friends: Option<Vec<FriendActivity>>,
}

/// A film or series.
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
    /// The year of its release.
    pub year: u16,
    /// The length of the film or of one episode, in minutes.
    pub runtime_minutes: u32,
    /// The number of seasons; only for a series.
    pub seasons: Option<u32>,
    /// Its audience: `all`, `teen` or `adult`.
    #[schema(example = "teen")]
    pub maturity: &'static str,
    /// Its list price.
    pub price: Money,
    /// Its poster in full size.
    pub image: String,
    /// Its actors.
    pub cast: Vec<String>,
    /// Its director.
    pub director: String,
}

/// The reviews of a product.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Reviews {
    /// The mean rating, 1 to 5.
    pub average: f64,
    /// The number of reviews.
    pub count: u64,
    /// The newest reviews.
    pub items: Vec<Review>,
}

/// One review.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Its author.
    pub author: String,
    /// The rating, 1 to 5.
    pub rating: u8,
    /// Its headline.
    pub title: String,
    /// Its text.
    pub text: String,
    /// The time at which it was posted, RFC 3339.
    pub created_at: String,
}

/// The availability of a product in a market.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// The market, ISO 3166-1 alpha-2.
    #[schema(example = "DE")]
    pub region: String,
    /// Whether it can be bought, rented or streamed now.
    pub in_stock: bool,
    /// Its offers.
    pub offers: Vec<Offer>,
}

/// An offer for a product.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Buy, rent or stream.
    #[schema(example = "rent")]
    pub kind: &'static str,
    /// The price; null if a subscription includes it.
    pub price: Option<Money>,
    /// The picture quality.
    #[schema(example = "uhd")]
    pub quality: &'static str,
}

/// An action of a friend with the product.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct FriendActivity {
    /// The friend's name.
    pub name: String,
    /// Watched, rated or bought.
    #[schema(example = "watched")]
    pub action: &'static str,
    /// The time of the action, RFC 3339.
    pub at: String,
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
        let (product, reviews, availability, similar, friends) = try_join!(
            screen.required("product", up.product.by_id(cx, id), Product::from_wire),
            screen.optional(
                "reviews",
                up.review.of_product(cx, id, REVIEWS, None),
                Reviews::from_wire
            ),
            screen.optional(
                "availability",
                up.inventory.of_product(cx, id),
                Availability::from_wire
            ),
            screen.optional("similar", up.product.similar(cx, id, SIMILAR), |w| cards(
                &w.items
            )),
            screen.personal(
                "friends",
                |caller| up.user.friends_activity(cx, caller, Some(id), FRIENDS),
                FriendActivity::from_wire,
            ),
        )?;
        Ok(screen.build(Self {
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
            price: wire.price.clone(),
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
            price: o.price.clone(),
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
        let activity = |a: &user::Activity| Self {
            name: a.friend.name.clone(),
            action: a.action.as_str(),
            at: a.at.into(),
        };
        wire.items.iter().map(activity).collect()
    }
}
