//! The REST endpoints of the mobile gateway.

use std::sync::Arc;

use axum::extract::State;
use bff_core::action::Created;
use bff_core::inbound::{Endpoints, IdempotentRequest, Path};
use bff_core::section::Fields;
use bff_core::{Error, RequestContext, Screen};
use bff_services::actions::checkout::{CHECKOUT, CheckoutInput};
use bff_services::product::{CollectionId, ProductId};
use utoipa::OpenApi;
use utoipa_axum::routes;

use crate::Upstreams;
use crate::actions::checkout::Checkout;
use crate::screens::home::Home;
use crate::screens::product::ProductScreen;

#[derive(OpenApi)]
#[openapi(info(title = "Mobile gateway", description = "Small screens for apps."))]
struct Api;

/// The endpoints and their OpenAPI description.
pub fn routes() -> Endpoints<Arc<Upstreams>> {
    Endpoints::new(Api::openapi())
        .screen(routes!(get_home))
        .screen(routes!(get_product))
        .screen(routes!(create_checkout))
}

/// The collection of featured products.
fn featured() -> Result<CollectionId, Error> {
    "featured"
        .parse()
        .map_err(|_| Error::invalid_at("/", "unknown row"))
}

/// Get the home screen
#[utoipa::path(get, path = "/v1/home", operation_id = "get_home",
    params(Fields<Home>),
    responses((status = 200, body = Screen<Home>)))]
async fn get_home(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    fields: Fields<Home>,
) -> Result<Screen<Home>, Error> {
    Ok(Home::assemble(&cx, &up, &featured()?, &fields).await?)
}

/// Get a product
#[utoipa::path(get, path = "/v1/products/{id}", operation_id = "get_product",
    params(("id" = inline(ProductId), Path, description = "The product", example = "p-1"),
           Fields<ProductScreen>),
    responses((status = 200, body = Screen<ProductScreen>)))]
async fn get_product(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    Path(id): Path<ProductId>,
    fields: Fields<ProductScreen>,
) -> Result<Screen<ProductScreen>, Error> {
    Ok(ProductScreen::assemble(&cx, &up, &id, &fields).await?)
}

/// Order the cart and pay for it
///
/// A retry with the same key and body within 24 hours gets the same response; nothing is ordered or charged twice. A
/// failure lists in `steps` which steps are done.
#[utoipa::path(post, path = "/v1/checkout", operation_id = "create_checkout",
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
