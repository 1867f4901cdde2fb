//! The GraphQL doors of the web: the same screens, one root field each.

use async_graphql::{Context, EmptyMutation, EmptySubscription, ID, Object, Schema, SchemaBuilder};
use bff_core::Error;
use bff_core::graphql::{resolve, resolve_screen, selection, validate_args};
use bff_services::product::ProductId;

use crate::Upstreams;
use crate::rest::{SearchQuery, featured};
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
        let (cx, want) = selection(ctx);
        let id = id.parse::<ProductId>();
        let id = id.map_err(|why| Error::invalid_at("/variables/id", why.to_string()));
        let id = resolve(ctx, id)?;
        let screen = ProductPage::assemble(cx, ctx.data_unchecked(), &id, &want).await;
        resolve_screen(ctx, &want, screen)
    }

    /// The first page.
    async fn home(&self, ctx: &Context<'_>) -> Option<Home> {
        let (cx, want) = selection(ctx);
        let featured = resolve(ctx, featured())?;
        let screen = Home::assemble(cx, ctx.data_unchecked(), &featured, &want).await;
        resolve_screen(ctx, &want, screen)
    }

    /// What the catalogue holds for a text.
    async fn search(
        &self,
        ctx: &Context<'_>,
        q: String,
        // A variable that nobody set is null to the library, and is to leave the default.
        #[graphql(default_with = "Some(SearchQuery::limit())")] limit: Option<u32>,
        cursor: Option<String>,
    ) -> Option<SearchPage> {
        let (cx, want) = selection(ctx);
        let limit = limit.unwrap_or_else(SearchQuery::limit);
        let query = validate_args(ctx, SearchQuery { q, limit, cursor })?;
        let up: &Upstreams = ctx.data_unchecked();
        let screen = SearchPage::assemble(cx, up, &query.q, query.page(), &want).await;
        resolve_screen(ctx, &want, screen)
    }

    /// Who is signed in.
    async fn me(&self, ctx: &Context<'_>) -> Option<Me> {
        let (cx, want) = selection(ctx);
        let caller = resolve(ctx, cx.require_caller())?;
        let screen = Me::assemble(cx, ctx.data_unchecked(), caller, &want).await;
        resolve_screen(ctx, &want, screen)
    }
}
