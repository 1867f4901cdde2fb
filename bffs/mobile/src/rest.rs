//! The REST doors of mobile.

use std::sync::Arc;

use axum::extract::State;
use bff_core::action::Created;
use bff_core::inbound::{Endpoints, IdempotentRequest, Path};
use bff_core::section::Fields;
use bff_core::{Error, RequestContext, Screen};
use bff_services::checkout::CHECKOUT;
use bff_services::product::{CollectionId, ProductId};
use utoipa::OpenApi;
use utoipa_axum::routes;

use crate::Upstreams;
use crate::actions::checkout::{Checkout, CheckoutInput};
use crate::screens::home::Home;
use crate::screens::product::ProductScreen;

#[derive(OpenApi)]
#[openapi(info(title = "Mobile gateway", description = "Small screens for apps."))]
struct Api;

/// The routes.
pub fn doors() -> Endpoints<Arc<Upstreams>> {
    Endpoints::new(Api::openapi())
        .screen(routes!(get_home))
        .screen(routes!(get_product))
        .screen(routes!(create_checkout))
}

/// What the editors put first, as the catalogue names it.
fn featured() -> Result<CollectionId, Error> {
    "featured"
        .parse()
        .map_err(|_| Error::invalid_at("/", "no such row"))
}

/// The first screen
#[utoipa::path(get, path = "/v1/home", operation_id = "get_home",
    params(("fields" = Option<String>, Query, description = "Sections and members wanted, such as `featured.name,new`")),
    responses((status = 200, body = Screen<Home>)))]
async fn get_home(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    want: Fields<Home>,
) -> Result<Screen<Home>, Error> {
    Ok(Home::assemble(&cx, &up, &featured()?, &want).await?)
}

/// One product in short
#[utoipa::path(get, path = "/v1/products/{id}", operation_id = "get_product",
    params(("id" = String, Path, description = "The product", example = "p-1"),
           ("fields" = Option<String>, Query, description = "Sections and members wanted, such as `product.name,availability.cheapest.price`")),
    responses((status = 200, body = Screen<ProductScreen>)))]
async fn get_product(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    Path(id): Path<ProductId>,
    want: Fields<ProductScreen>,
) -> Result<Screen<ProductScreen>, Error> {
    Ok(ProductScreen::assemble(&cx, &up, &id, &want).await?)
}

/// Order what is in the cart, and pay for it
///
/// The same key and body again, within a day, get the same answer, and nothing is ordered or charged twice. A failure says
/// in `steps` what stands.
#[utoipa::path(post, path = "/v1/checkout", operation_id = "create_checkout",
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
