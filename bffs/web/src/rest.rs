//! The REST endpoints of the web gateway.

use std::sync::Arc;

use axum::extract::State;
use bff_core::action::Created;
use bff_core::inbound::{Authenticated, Endpoints, IdempotentRequest, Path, Query};
use bff_core::section::Fields;
use bff_core::{Error, RequestContext, Screen};
use bff_services::actions::checkout::{CHECKOUT, CheckoutInput};
use bff_services::product::{CollectionId, ProductId};
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::routes;

use crate::Upstreams;
use crate::actions::checkout::Checkout;
use crate::screens::home::Home;
use crate::screens::me::Me;
use crate::screens::playback::Playback;
use crate::screens::product::ProductPage;
use crate::screens::search::SearchPage;

#[derive(OpenApi)]
#[openapi(info(title = "Web gateway", description = "Screens for browsers."))]
struct Api;

/// The endpoints and their OpenAPI description.
pub fn routes() -> Endpoints<Arc<Upstreams>> {
    Endpoints::new(Api::openapi())
        .screen(routes!(get_product_details))
        .screen(routes!(get_playback))
        .screen(routes!(get_home))
        .screen(routes!(get_search))
        .screen(routes!(get_me))
        .screen(routes!(create_checkout))
}

/// The collection of featured products.
pub(crate) fn featured() -> Result<CollectionId, Error> {
    "featured"
        .parse()
        .map_err(|_| Error::invalid_at("/", "unknown row"))
}

/// The query of a search.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// The search text, 1 to 100 characters.
    #[garde(length(chars, min = 1, max = 100))]
    #[param(min_length = 1, max_length = 100, example = "harbour")]
    pub(crate) q: String,
    /// The number of results, 1 to 50.
    #[serde(default = "SearchQuery::limit")]
    #[garde(range(min = 1, max = 50))]
    #[param(required = false, minimum = 1, maximum = 50)]
    pub(crate) limit: u32,
    /// The `nextCursor` of the page before.
    #[garde(length(chars, max = 200))]
    #[param(max_length = 200)]
    pub(crate) cursor: Option<String>,
}

impl SearchQuery {
    pub(crate) fn limit() -> u32 {
        20
    }

    /// The limit and the cursor.
    pub(crate) fn page(&self) -> (u32, Option<&str>) {
        (self.limit, self.cursor.as_deref())
    }
}

/// Get the product page
#[utoipa::path(get, path = "/api/product-details/{id}", operation_id = "get_product_details",
    params(("id" = inline(ProductId), Path, description = "The product", example = "p-1"),
           Fields<ProductPage>),
    responses((status = 200, body = Screen<ProductPage>)))]
async fn get_product_details(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    Path(id): Path<ProductId>,
    fields: Fields<ProductPage>,
) -> Result<Screen<ProductPage>, Error> {
    Ok(ProductPage::assemble(&cx, &up, &id, &fields).await?)
}

/// Get the playback manifest of a product
#[utoipa::path(get, path = "/api/products/{id}/playback", operation_id = "get_playback",
    params(("id" = inline(ProductId), Path, description = "The product", example = "p-1"),
           Fields<Playback>),
    responses((status = 200, body = Screen<Playback>)))]
async fn get_playback(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    Path(id): Path<ProductId>,
    fields: Fields<Playback>,
) -> Result<Screen<Playback>, Error> {
    Ok(Playback::assemble(&cx, &up, &id, &fields).await?)
}

/// Get the home page
#[utoipa::path(get, path = "/api/home", operation_id = "get_home",
    params(Fields<Home>),
    responses((status = 200, body = Screen<Home>)))]
async fn get_home(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    fields: Fields<Home>,
) -> Result<Screen<Home>, Error> {
    Ok(Home::assemble(&cx, &up, &featured()?, &fields).await?)
}

/// Search the catalogue
#[utoipa::path(get, path = "/api/search", operation_id = "search_products",
    params(SearchQuery, Fields<SearchPage>),
    responses((status = 200, body = Screen<SearchPage>)))]
async fn get_search(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    Query(query): Query<SearchQuery>,
    fields: Fields<SearchPage>,
) -> Result<Screen<SearchPage>, Error> {
    Ok(SearchPage::assemble(&cx, &up, &query.q, query.page(), &fields).await?)
}

/// Get the signed-in user
#[utoipa::path(get, path = "/api/me", operation_id = "get_me",
    params(Fields<Me>),
    responses((status = 200, body = Screen<Me>)), security(("bearer" = [])))]
async fn get_me(
    cx: RequestContext,
    Authenticated(caller): Authenticated,
    State(up): State<Arc<Upstreams>>,
    fields: Fields<Me>,
) -> Result<Screen<Me>, Error> {
    Ok(Me::assemble(&cx, &up, &caller, &fields).await?)
}

/// Order the cart and pay for it
///
/// A retry with the same key and body within 24 hours gets the same response; nothing is ordered or charged twice. A
/// failure lists in `steps` which steps are done.
#[utoipa::path(post, path = "/api/checkout", operation_id = "create_checkout",
    params(IdempotentRequest<CheckoutInput>),
    request_body = CheckoutInput,
    responses((status = 201, body = Checkout)), security(("bearer" = [])))]
async fn create_checkout(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    IdempotentRequest { request, input }: IdempotentRequest<CheckoutInput>,
) -> Result<Created<Checkout>, Error> {
    let writes = up.writes.clone();
    let work = |cx, attempt| async move { Checkout::run(&cx, &up, &attempt, input).await };
    writes.run_once(&cx, CHECKOUT, request, work).await
}
