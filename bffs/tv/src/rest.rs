//! The REST doors of the tv.

use axum::extract::State;
use bff_core::inbound::{Doors, Path};
use bff_core::section::Fields;
use bff_core::{Cx, Error, Screen};
use bff_services::product::ProductId;
use utoipa::OpenApi;
use utoipa_axum::routes;

use crate::Tv;
use crate::screens::browse::Browse;
use crate::screens::title::TitlePage;

#[derive(OpenApi)]
#[openapi(info(title = "TV gateway", description = "Screens for television sets."))]
struct Api;

/// The routes.
pub fn doors() -> Doors<Tv> {
    Doors::new(Api::openapi())
        .screen(routes!(get_browse))
        .screen(routes!(get_title))
}

/// The hero and the rows
#[utoipa::path(get, path = "/v1/browse", operation_id = "get_browse",
    params(("fields" = Option<String>, Query, description = "Sections and members wanted, such as `hero,rows.title`")),
    responses((status = 200, body = Screen<Browse>)))]
async fn get_browse(
    cx: Cx,
    State(tv): State<Tv>,
    want: Fields<Browse>,
) -> Result<Screen<Browse>, Error> {
    Ok(Browse::assemble(&cx, &tv.up, &tv.shelves, &want).await?)
}

/// One title in full
#[utoipa::path(get, path = "/v1/titles/{id}", operation_id = "get_title",
    params(("id" = String, Path, description = "The title", example = "p-1"),
           ("fields" = Option<String>, Query, description = "Sections and members wanted, such as `title.name,rating`")),
    responses((status = 200, body = Screen<TitlePage>)))]
async fn get_title(
    cx: Cx,
    State(tv): State<Tv>,
    Path(id): Path<ProductId>,
    want: Fields<TitlePage>,
) -> Result<Screen<TitlePage>, Error> {
    Ok(TitlePage::assemble(&cx, &tv.up, &id, &want).await?)
}
