//! The GraphQL schema of the web gateway: one root field for each screen.

use async_graphql::{Context, EmptyMutation, EmptySubscription, ID, Object, Schema, SchemaBuilder};
use bff_core::config::Mode;
use bff_core::graphql::{resolve, resolve_screen, selection, validate_args};
use bff_core::inbound::endpoints::ExtraRoutes;
use bff_core::{Error, graphql};
use bff_services::product::ProductId;

use crate::Upstreams;
use crate::rest::{SearchQuery, featured};
use crate::screens::home::Home;
use crate::screens::me::Me;
use crate::screens::product::ProductPage;
use crate::screens::search::SearchPage;

/// The root query type.
#[derive(Debug)]
pub struct Query;

/// The GraphQL routes.
///
/// # Errors
/// If the schema is not valid GraphQL.
pub fn routes(up: &Upstreams, config: &graphql::Config, mode: Mode) -> Result<ExtraRoutes, String> {
    graphql::routes(schema().data(up.clone()), config, mode)
}

/// The schema, before its data is added.
fn schema() -> SchemaBuilder<Query, EmptyMutation, EmptySubscription> {
    Schema::build(Query, EmptyMutation, EmptySubscription)
}

/// All reads.
#[Object]
impl Query {
    /// The product page.
    async fn product_page(&self, ctx: &Context<'_>, id: ID) -> Option<ProductPage> {
        let (cx, fields) = selection(ctx);
        let id = id.parse::<ProductId>();
        let id = id.map_err(|error| Error::invalid_at("/variables/id", error.to_string()));
        let id = resolve(ctx, id)?;
        let screen = ProductPage::assemble(cx, ctx.data_unchecked(), &id, &fields).await;
        resolve_screen(ctx, &fields, screen)
    }

    /// The home page.
    async fn home(&self, ctx: &Context<'_>) -> Option<Home> {
        let (cx, fields) = selection(ctx);
        let featured = resolve(ctx, featured())?;
        let screen = Home::assemble(cx, ctx.data_unchecked(), &featured, &fields).await;
        resolve_screen(ctx, &fields, screen)
    }

    /// Search results.
    async fn search(
        &self,
        ctx: &Context<'_>,
        q: String,
        // A client may send null. It selects the default too.
        #[graphql(default_with = "i32::try_from(SearchQuery::limit()).ok()")] limit: Option<i32>,
        cursor: Option<String>,
    ) -> Option<SearchPage> {
        let (cx, fields) = selection(ctx);
        // A negative number is out of range, as 0 is.
        let limit = limit.map(|limit| u32::try_from(limit).unwrap_or_default());
        let limit = limit.unwrap_or_else(SearchQuery::limit);
        let query = validate_args(ctx, SearchQuery { q, limit, cursor })?;
        let up: &Upstreams = ctx.data_unchecked();
        let screen = SearchPage::assemble(cx, up, &query.q, query.page(), &fields).await;
        resolve_screen(ctx, &fields, screen)
    }

    /// The signed-in user.
    async fn me(&self, ctx: &Context<'_>) -> Option<Me> {
        let (cx, fields) = selection(ctx);
        let caller = resolve(ctx, cx.require_caller())?;
        let screen = Me::assemble(cx, ctx.data_unchecked(), caller, &fields).await;
        resolve_screen(ctx, &fields, screen)
    }
}
