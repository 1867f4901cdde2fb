//! The REST endpoints of the partner gateway. Each one requires an API key.

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

/// The maximum number of ids in one request.
const MAX_IDS: usize = 50;

#[derive(OpenApi)]
#[openapi(info(
    title = "Partner gateway",
    description = "The catalogue and its availability, for programs with an API key."
))]
struct Api;

/// The endpoints and their OpenAPI description.
pub fn routes() -> Endpoints<Arc<Upstreams>> {
    Endpoints::new(Api::openapi())
        .screen(routes!(list_products))
        .screen(routes!(get_product))
        .screen(routes!(get_availability))
}

/// The query of a product list.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProductsQuery {
    /// The page number, 1 to 100000.
    #[serde(default = "ProductsQuery::page")]
    #[garde(range(min = 1, max = 100_000))]
    #[param(required = false, minimum = 1, maximum = 100_000, example = 1)]
    page: u32,
    /// The number of products on a page, 1 to 100.
    #[serde(rename = "perPage", default = "ProductsQuery::per_page")]
    #[garde(range(min = 1, max = 100))]
    #[param(required = false, minimum = 1, maximum = 100, example = 20)]
    per_page: u32,
    /// Only products of this category.
    #[garde(length(chars, min = 1, max = 64))]
    #[param(min_length = 1, max_length = 64, example = "drama")]
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

/// The query of availability.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AvailabilityQuery {
    /// 1 to 50 ids, separated by commas. Duplicates are ignored.
    #[garde(length(min = 1))]
    #[param(value_type = Vec<ProductId>, inline, style = Form, explode = false, min_items = 1, max_items = 50,
            example = json!(["p-1", "p-2"]))]
    ids: String,
}

impl AvailabilityQuery {
    /// The ids without duplicates, or all errors.
    fn parse(&self) -> Result<Vec<ProductId>, Error> {
        let mut ids = Vec::new();
        let mut errors = Vec::new();
        let mut add_error = |detail: String| {
            let pointer = "/query/ids".to_owned();
            errors.push(FieldError { pointer, detail });
        };
        let count = self.ids.split(',').count();
        if count > MAX_IDS {
            add_error(format!(
                "{count} ids are more than the maximum of {MAX_IDS}"
            ));
        }
        for (index, text) in self.ids.split(',').take(MAX_IDS).enumerate() {
            match text.parse::<ProductId>() {
                Ok(id) if ids.contains(&id) => {}
                Ok(id) => ids.push(id),
                Err(error) => add_error(format!("id {}: {error}", index + 1)),
            }
        }
        if errors.is_empty() {
            Ok(ids)
        } else {
            Err(Error::invalid(errors))
        }
    }
}

/// List products
#[utoipa::path(get, path = "/v2/products", operation_id = "list_products",
    params(ProductsQuery, Fields<ProductsPage>),
    responses((status = 200, body = Screen<ProductsPage>)), security(("apiKey" = [])))]
async fn list_products(
    cx: RequestContext,
    _caller: Authenticated,
    State(up): State<Arc<Upstreams>>,
    Query(query): Query<ProductsQuery>,
    fields: Fields<ProductsPage>,
) -> Result<Screen<ProductsPage>, Error> {
    let page = (query.page, query.per_page);
    Ok(ProductsPage::assemble(&cx, &up, page, query.category.as_deref(), &fields).await?)
}

/// Get a product
#[utoipa::path(get, path = "/v2/products/{id}", operation_id = "get_product",
    params(("id" = inline(ProductId), Path, description = "The product", example = "p-1"),
           Fields<ProductPage>),
    responses((status = 200, body = Screen<ProductPage>)), security(("apiKey" = [])))]
async fn get_product(
    cx: RequestContext,
    _caller: Authenticated,
    State(up): State<Arc<Upstreams>>,
    Path(id): Path<ProductId>,
    fields: Fields<ProductPage>,
) -> Result<Screen<ProductPage>, Error> {
    Ok(ProductPage::assemble(&cx, &up, &id, &fields).await?)
}

/// Get the availability of products
#[utoipa::path(get, path = "/v2/availability", operation_id = "get_availability",
    params(AvailabilityQuery, Fields<AvailabilityPage>),
    responses((status = 200, body = Screen<AvailabilityPage>)), security(("apiKey" = [])))]
async fn get_availability(
    cx: RequestContext,
    _caller: Authenticated,
    State(up): State<Arc<Upstreams>>,
    Query(query): Query<AvailabilityQuery>,
    fields: Fields<AvailabilityPage>,
) -> Result<Screen<AvailabilityPage>, Error> {
    let ids = query.parse()?;
    Ok(AvailabilityPage::assemble(&cx, &up, &ids, &fields).await?)
}
