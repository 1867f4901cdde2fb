//! The REST doors of the partners. Every one needs a key.

use std::sync::Arc;

use axum::extract::State;
use bff_core::error::FieldError;
use bff_core::inbound::{Authenticated, Endpoints, Path, Query};
use bff_core::section::Fields;
use bff_core::{Error, RequestContext, Screen};
use bff_services::product::ProductId;
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::routes;

use crate::Upstreams;
use crate::screens::availability::AvailabilityPage;
use crate::screens::product::ProductPage;
use crate::screens::products::ProductsPage;

/// How many ids one request may name.
const MAX_IDS: usize = 50;

#[derive(OpenApi)]
#[openapi(info(
    title = "Partner gateway",
    description = "The catalogue and where it can be had, for programs with an API key."
))]
struct Api;

/// The routes.
pub fn doors() -> Endpoints<Arc<Upstreams>> {
    Endpoints::new(Api::openapi())
        .screen(routes!(list_products))
        .screen(routes!(get_product))
        .screen(routes!(get_availability))
}

/// Which page of the catalogue.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProductsQuery {
    /// Which page, from 1 to 100000.
    #[serde(default = "ProductsQuery::page")]
    #[garde(range(min = 1, max = 100_000))]
    #[param(required = false, example = 1)]
    page: u32,
    /// How many products a page has, 1 to 100.
    #[serde(rename = "perPage", default = "ProductsQuery::per_page")]
    #[garde(range(min = 1, max = 100))]
    #[param(required = false, example = 20)]
    per_page: u32,
    /// Products of this category only.
    #[garde(length(chars, min = 1, max = 64))]
    #[param(example = "drama")]
    category: Option<String>,
}

impl ProductsQuery {
    fn page() -> u32 {
        1
    }

    fn per_page() -> u32 {
        20
    }
}

/// Of which products.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AvailabilityQuery {
    /// 1 to 50 ids with commas between them; an id named twice is answered once.
    #[garde(length(min = 1))]
    #[param(example = "p-1,p-2")]
    ids: String,
}

impl AvailabilityQuery {
    /// The ids, each once, or everything that is wrong with them.
    fn parse(&self) -> Result<Vec<ProductId>, Error> {
        let mut ids = Vec::new();
        let mut wrong = Vec::new();
        let mut tell = |detail: String| {
            let pointer = "/query/ids".to_owned();
            wrong.push(FieldError { pointer, detail });
        };
        let given = self.ids.split(',').count();
        if given > MAX_IDS {
            tell(format!("{given} ids are more than {MAX_IDS}"));
        }
        for (place, text) in self.ids.split(',').take(MAX_IDS).enumerate() {
            match text.parse::<ProductId>() {
                Ok(id) if ids.contains(&id) => {}
                Ok(id) => ids.push(id),
                Err(why) => tell(format!("id {}: {why}", place + 1)),
            }
        }
        if wrong.is_empty() {
            Ok(ids)
        } else {
            Err(Error::invalid(wrong))
        }
    }
}

/// One page of the catalogue
#[utoipa::path(get, path = "/v2/products", operation_id = "list_products",
    params(ProductsQuery, ("fields" = Option<String>, Query, description = "Sections and members wanted", example = "products.items.id")),
    responses((status = 200, body = Screen<ProductsPage>)), security(("apiKey" = [])))]
async fn list_products(
    cx: RequestContext,
    _caller: Authenticated,
    State(up): State<Arc<Upstreams>>,
    Query(query): Query<ProductsQuery>,
    want: Fields<ProductsPage>,
) -> Result<Screen<ProductsPage>, Error> {
    let at = (query.page, query.per_page);
    Ok(ProductsPage::assemble(&cx, &up, at, query.category.as_deref(), &want).await?)
}

/// One product
#[utoipa::path(get, path = "/v2/products/{id}", operation_id = "get_product",
    params(("id" = String, Path, description = "The product", example = "p-1"),
           ("fields" = Option<String>, Query, description = "Sections and members wanted", example = "product.title,rating")),
    responses((status = 200, body = Screen<ProductPage>)), security(("apiKey" = [])))]
async fn get_product(
    cx: RequestContext,
    _caller: Authenticated,
    State(up): State<Arc<Upstreams>>,
    Path(id): Path<ProductId>,
    want: Fields<ProductPage>,
) -> Result<Screen<ProductPage>, Error> {
    Ok(ProductPage::assemble(&cx, &up, &id, &want).await?)
}

/// How several products can be had
#[utoipa::path(get, path = "/v2/availability", operation_id = "get_availability",
    params(AvailabilityQuery, ("fields" = Option<String>, Query, description = "Sections and members wanted", example = "items.status")),
    responses((status = 200, body = Screen<AvailabilityPage>)), security(("apiKey" = [])))]
async fn get_availability(
    cx: RequestContext,
    _caller: Authenticated,
    State(up): State<Arc<Upstreams>>,
    Query(query): Query<AvailabilityQuery>,
    want: Fields<AvailabilityPage>,
) -> Result<Screen<AvailabilityPage>, Error> {
    let ids = query.parse()?;
    Ok(AvailabilityPage::assemble(&cx, &up, &ids, &want).await?)
}
