//! Mobile's first screen: what is featured and what is new, in small cards.

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::{self, CollectionId};
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use super::scaled;
use crate::Upstreams;

/// How many products a list of the screen shows.
const CARDS: u32 = 8;
/// How wide a card's picture is, in pixels.
const WIDTH: u32 = 320;

/// Mobile's first screen.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Home {
    /// What the editors put first.
    pub featured: Vec<Card>,
    /// The catalogue's first page.
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
    /// Fetches the sections side by side; the featured row is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        featured: &CollectionId,
        want: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let page = ScreenBuilder::new(cx, want);
        let (featured, new) = try_join!(
            page.required(
                "featured",
                up.product.collection(cx, featured, None, CARDS),
                |w| cards(&w.items)
            ),
            page.optional("new", up.product.list(cx, 1, CARDS, None), |w| cards(
                &w.items
            )),
        )?;
        Ok(page.build(Self { featured, new }))
    }
}

fn cards(wire: &[product::Product]) -> Vec<Card> {
    let one = |p: &product::Product| Card {
        id: (&p.id).into(),
        name: p.name.clone(),
        image: scaled(&p.image, WIDTH),
    };
    wire.iter().map(one).collect()
}
