//! The GraphQL doors of the web: the same screens, one root field each.

use async_graphql::{Context, EmptyMutation, EmptySubscription, ID, Object, Schema, SchemaBuilder};
use bff_core::Error;
use bff_core::graphql::{answer, enter, outcome};
use bff_services::product::ProductId;

use crate::Upstreams;
use crate::rest::featured;
use crate::screens::home::Home;
use crate::screens::me::Me;
use crate::screens::product::ProductPage;
use crate::screens::search::SearchPage;

/// The root fields.
#[derive(Debug)]
pub struct Query;

/// The schema without its data.
pub fn schema() -> SchemaBuilder<Query, EmptyMutation, EmptySubscription> {
    Schema::build(Query, EmptyMutation, EmptySubscription)
}

/// The root of every read.
#[Object]
impl Query {
    /// One product in full.
    async fn product_page(&self, ctx: &Context<'_>, id: ID) -> Option<ProductPage> {
        let (cx, want) = enter(ctx);
        let id = id.parse::<ProductId>();
        let id = id.map_err(|why| Error::invalid_at("/variables/id", why.to_string()));
        let id = outcome(ctx, id)?;
        let screen = ProductPage::assemble(cx, ctx.data_unchecked(), &id, &want).await;
        answer(ctx, &want, screen)
    }

    /// The first page.
    async fn home(&self, ctx: &Context<'_>) -> Option<Home> {
        let (cx, want) = enter(ctx);
        let featured = outcome(ctx, featured())?;
        let screen = Home::assemble(cx, ctx.data_unchecked(), &featured, &want).await;
        answer(ctx, &want, screen)
    }

    /// What the catalogue holds for a text.
    async fn search(
        &self,
        ctx: &Context<'_>,
        q: String,
        #[graphql(default = 20)] limit: u32,
        cursor: Option<String>,
    ) -> Option<SearchPage> {
        let (cx, want) = enter(ctx);
        let checked = match (q.chars().count(), limit) {
            (1..=100, 1..=50) => Ok(()),
            (1..=100, _) => Err(Error::invalid_at("/variables/limit", "1 to 50")),
            _ => Err(Error::invalid_at("/variables/q", "1 to 100 characters")),
        };
        outcome(ctx, checked)?;
        let up: &Upstreams = ctx.data_unchecked();
        let screen = SearchPage::assemble(cx, up, &q, (limit, cursor.as_deref()), &want).await;
        answer(ctx, &want, screen)
    }

    /// Who is signed in.
    async fn me(&self, ctx: &Context<'_>) -> Option<Me> {
        let (cx, want) = enter(ctx);
        let caller = outcome(ctx, cx.require_caller())?;
        let screen = Me::assemble(cx, ctx.data_unchecked(), caller, &want).await;
        answer(ctx, &want, screen)
    }
}
