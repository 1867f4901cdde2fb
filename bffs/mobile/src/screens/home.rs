//! The home screen: featured products and the first products of the catalogue, in small cards.

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::{self, CollectionId};
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::scaled_url;
use crate::Upstreams;

/// The number of products in a list of the screen.
const CARDS: u32 = 8;
/// The width of a card's image, in pixels.
const IMAGE_WIDTH: u32 = 320;

/// The home screen.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Home {
    /// The featured products.
    pub featured: Vec<Card>,
    /// The first products of the catalogue.
    pub new: Option<Vec<Card>>,
}

/// A product in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Card {
    /// Its id.
    #[schema(example = "p-1")]
    pub id: String,
    /// Its title.
    pub name: String,
    /// Its poster, 320 pixels wide.
    pub image: String,
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
        let (featured, new) = try_join!(
            screen.required(
                "featured",
                up.product.collection(cx, featured, None, CARDS),
                |w| cards(&w.items)
            ),
            screen.optional("new", up.product.list(cx, 1, CARDS, None), |w| cards(
                &w.items
            )),
        )?;
        Ok(screen.build(Self { featured, new }))
    }
}

fn cards(wire: &[product::Product]) -> Vec<Card> {
    let card = |p: &product::Product| Card {
        id: (&p.id).into(),
        name: p.name.clone(),
        image: scaled_url(&p.image, IMAGE_WIDTH),
    };
    wire.iter().map(card).collect()
}
