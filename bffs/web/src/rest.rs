//! The REST doors of the web.

use std::sync::Arc;

use axum::extract::State;
use bff_core::action::Created;
use bff_core::inbound::{Endpoints, IdempotentRequest, Path, Query};
use bff_core::section::Fields;
use bff_core::{Error, RequestContext, Screen};
use bff_services::checkout::CHECKOUT;
use bff_services::product::{CollectionId, ProductId};
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::routes;

use crate::Upstreams;
use crate::actions::checkout::{Checkout, CheckoutInput};
use crate::screens::home::Home;
use crate::screens::me::Me;
use crate::screens::playback::Playback;
use crate::screens::product::ProductPage;
use crate::screens::search::SearchPage;

#[derive(OpenApi)]
#[openapi(info(title = "Web gateway", description = "Screens for browsers."))]
struct Api;

/// The routes.
pub fn routes() -> Endpoints<Arc<Upstreams>> {
    Endpoints::new(Api::openapi())
        .screen(routes!(get_product_details))
        .screen(routes!(get_playback))
        .screen(routes!(get_home))
        .screen(routes!(get_search))
        .screen(routes!(get_me))
        .screen(routes!(create_checkout))
}

/// What the editors put first, as the catalogue names it.
pub(crate) fn featured() -> Result<CollectionId, Error> {
    "featured"
        .parse()
        .map_err(|_| Error::invalid_at("/", "no such row"))
}

/// What to search for.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// The text, 1 to 100 characters.
    #[garde(length(chars, min = 1, max = 100))]
    #[param(example = "harbour")]
    pub(crate) q: String,
    /// How many results, 1 to 50.
    #[serde(default = "SearchQuery::limit")]
    #[garde(range(min = 1, max = 50))]
    #[param(required = false)]
    pub(crate) limit: u32,
    /// Where the page begins: the `nextCursor` of the one before.
    #[garde(length(max = 200))]
    pub(crate) cursor: Option<String>,
}

impl SearchQuery {
    pub(crate) fn limit() -> u32 {
        20
    }

    /// How many results, and from where on.
    pub(crate) fn page(&self) -> (u32, Option<&str>) {
        (self.limit, self.cursor.as_deref())
    }
}

/// One product in full
#[utoipa::path(get, path = "/api/product-details/{id}", operation_id = "get_product_details",
    params(("id" = String, Path, description = "The product", example = "p-1"),
           ("fields" = Option<String>, Query, description = "Sections and members wanted, such as `product.name,reviews`")),
    responses((status = 200, body = Screen<ProductPage>)))]
async fn get_product_details(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    Path(id): Path<ProductId>,
    want: Fields<ProductPage>,
) -> Result<Screen<ProductPage>, Error> {
    Ok(ProductPage::assemble(&cx, &up, &id, &want).await?)
}

/// How a browser plays one product
#[utoipa::path(get, path = "/api/products/{id}/playback", operation_id = "get_playback",
    params(("id" = String, Path, description = "The product", example = "p-1"),
           ("fields" = Option<String>, Query, description = "Sections and members wanted")),
    responses((status = 200, body = Screen<Playback>)))]
async fn get_playback(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    Path(id): Path<ProductId>,
    want: Fields<Playback>,
) -> Result<Screen<Playback>, Error> {
    Ok(Playback::assemble(&cx, &up, &id, &want).await?)
}

/// The first page
#[utoipa::path(get, path = "/api/home", operation_id = "get_home",
    params(("fields" = Option<String>, Query, description = "Sections and members wanted")),
    responses((status = 200, body = Screen<Home>)))]
async fn get_home(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    want: Fields<Home>,
) -> Result<Screen<Home>, Error> {
    Ok(Home::assemble(&cx, &up, &featured()?, &want).await?)
}

/// What the catalogue holds for a text
#[utoipa::path(get, path = "/api/search", operation_id = "search_products",
    params(SearchQuery, ("fields" = Option<String>, Query, description = "Sections and members wanted")),
    responses((status = 200, body = Screen<SearchPage>)))]
async fn get_search(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    Query(query): Query<SearchQuery>,
    want: Fields<SearchPage>,
) -> Result<Screen<SearchPage>, Error> {
    Ok(SearchPage::assemble(&cx, &up, &query.q, query.page(), &want).await?)
}

/// Who is signed in
#[utoipa::path(get, path = "/api/me", operation_id = "get_me",
    params(("fields" = Option<String>, Query, description = "Sections and members wanted")),
    responses((status = 200, body = Screen<Me>)), security(("bearer" = [])))]
async fn get_me(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    want: Fields<Me>,
) -> Result<Screen<Me>, Error> {
    Ok(Me::assemble(&cx, &up, cx.require_caller()?, &want).await?)
}

/// Order what is in the cart, and pay for it
///
/// The same key and body again, within a day, get the same answer, and nothing is ordered or charged twice. A failure says
/// in `steps` what stands.
#[utoipa::path(post, path = "/api/checkout", operation_id = "create_checkout",
    params(("Idempotency-Key" = String, Header, description = "What this write is called by: 1 to 255 visible characters")),
    request_body = CheckoutInput,
    responses((status = 201, body = Checkout)), security(("bearer" = [])))]
async fn create_checkout(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    IdempotentRequest {
        request: asked,
        input,
    }: IdempotentRequest<CheckoutInput>,
) -> Result<Created<Checkout>, Error> {
    let writes = up.writes.clone();
    let work = |cx, run| async move { Checkout::run(&cx, &up, &run, input).await };
    writes.run_once(&cx, CHECKOUT, asked, work).await
}
