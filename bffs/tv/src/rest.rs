//! The REST doors of the tv.

use std::sync::Arc;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use bff_core::inbound::{Authenticated, Body, EndpointOptions, Endpoints, Path, Query, SseStream};
use bff_core::section::Fields;
use bff_core::{Error, RequestContext, Screen};
use bff_services::product::ProductId;
use futures_util::{Stream, TryStreamExt};
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::routes;

use crate::TvState;
use crate::actions::heartbeat::{Beat, Position, heartbeat, playback_events};
use crate::screens::browse::Browse;
use crate::screens::manifest::Device;
use crate::screens::title::TitlePage;

#[derive(OpenApi)]
#[openapi(info(title = "TV gateway", description = "Screens for television sets."))]
struct Api;

/// A set that plays hears something every 15 s at the latest; twice that is a connection that broke.
const PLAYING: EndpointOptions = EndpointOptions {
    stream_idle: Some(Duration::from_secs(30)),
    ..EndpointOptions::SCREEN
};

/// The routes.
pub fn doors() -> Endpoints<Arc<TvState>> {
    Endpoints::new(Api::openapi())
        .screen(routes!(get_browse))
        .screen(routes!(get_title))
        .screen(routes!(post_heartbeat))
        .endpoint(PLAYING, routes!(post_playing))
}

/// For which set.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TitleQuery {
    /// What kind of set it is.
    #[serde(default)]
    #[garde(skip)]
    #[param(required = false, example = "tv-hd")]
    device: Device,
}

/// The hero and the rows
#[utoipa::path(get, path = "/v1/browse", operation_id = "get_browse",
    params(("fields" = Option<String>, Query, description = "Sections and members wanted, such as `hero,rows.title`")),
    responses((status = 200, body = Screen<Browse>)))]
async fn get_browse(
    cx: RequestContext,
    State(tv): State<Arc<TvState>>,
    want: Fields<Browse>,
) -> Result<Screen<Browse>, Error> {
    Ok(Browse::assemble(&cx, &tv.up, &tv.shelves, &want).await?)
}

/// One title in full
#[utoipa::path(get, path = "/v1/titles/{id}", operation_id = "get_title",
    params(TitleQuery, ("id" = String, Path, description = "The title", example = "p-1"),
           ("fields" = Option<String>, Query, description = "Sections and members wanted, such as `title.name,rating`")),
    responses((status = 200, body = Screen<TitlePage>)))]
async fn get_title(
    cx: RequestContext,
    State(tv): State<Arc<TvState>>,
    Path(id): Path<ProductId>,
    Query(query): Query<TitleQuery>,
    want: Fields<TitlePage>,
) -> Result<Screen<TitlePage>, Error> {
    Ok(TitlePage::assemble(&cx, &tv.up, &id, query.device, &want).await?)
}

/// Say once where a set is, and learn whether to go on
#[utoipa::path(post, path = "/v1/titles/{id}/heartbeat", operation_id = "send_heartbeat",
    params(("id" = String, Path, description = "The title", example = "p-1")), request_body = Position,
    responses((status = 200, body = Beat)), security(("bearer" = [])))]
async fn post_heartbeat(
    cx: RequestContext,
    Authenticated(caller): Authenticated,
    State(tv): State<Arc<TvState>>,
    Path(id): Path<ProductId>,
    Body(at): Body<Position>,
) -> Result<Json<Beat>, Error> {
    Ok(Json(heartbeat(&cx, &tv.up, &caller, &id, at).await?))
}

/// Play: the gateway says where the set is for as long as it holds the stream
///
/// Each event is called `beat` and carries a `Beat`; the position goes on by a second each second. Hang up to pause or
/// to jump, and open another one to go on. The last event of a stream that failed is called `problem` and carries the
/// problem document; that of one whose gateway leaves is called `leaving`: open another one.
#[utoipa::path(post, path = "/v1/titles/{id}/playing", operation_id = "play_title",
    params(("id" = String, Path, description = "The title", example = "p-1")), request_body = Position,
    responses((status = 200, body = Beat, content_type = "text/event-stream")), security(("bearer" = [])))]
async fn post_playing(
    cx: RequestContext,
    Authenticated(caller): Authenticated,
    State(tv): State<Arc<TvState>>,
    Path(id): Path<ProductId>,
    Body(from): Body<Position>,
) -> Result<SseStream<impl Stream<Item = Result<Beat, Error>>>, Error> {
    let beats = playback_events(&cx, &tv.up, &caller, &id, from).await?;
    Ok(SseStream::new(cx, "beat", beats.map_err(Error::from)))
}
