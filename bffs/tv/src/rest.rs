//! The REST endpoints of the TV gateway.

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
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::routes;

use crate::Upstreams;
use crate::actions::heartbeat::{Beat, Position, heartbeat, playback_events};
use crate::screens::browse::Browse;
use crate::screens::manifest::Device;
use crate::screens::title::TitlePage;

#[derive(OpenApi)]
#[openapi(info(title = "TV gateway", description = "Screens for television sets."))]
struct Api;

/// A playback stream sends an event at least every 15 s. After 30 s without one, it is broken.
const PLAYBACK_STREAM: EndpointOptions = EndpointOptions {
    stream_idle: Some(Duration::from_secs(30)),
    ..EndpointOptions::SCREEN
};

/// The endpoints and their OpenAPI description.
pub fn routes() -> Endpoints<Arc<Upstreams>> {
    Endpoints::new(Api::openapi())
        .screen(routes!(get_browse))
        .screen(routes!(get_title))
        .screen(routes!(post_heartbeat))
        .endpoint(PLAYBACK_STREAM, routes!(post_playing))
}

/// The query of a title.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TitleQuery {
    /// The device class.
    #[serde(default)]
    #[garde(skip)]
    #[param(required = false, inline, example = "tv-hd")]
    device: Device,
}

/// An event of a playback stream.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "only the schema is used: `SseStream` writes the events"
)]
struct PlaybackEvent {
    /// The name of the event.
    event: PlaybackEventName,
    /// JSON: a `Beat`, a `Problem`, or `{}` for `shutdown`.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// The name of a playback event.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "only the schema is used")]
enum PlaybackEventName {
    /// A heartbeat was sent.
    Beat,
    /// The stream failed. This is its last event.
    Problem,
    /// The gateway shuts down. This is the last event: open another stream.
    Shutdown,
}

/// Get the browse screen
#[utoipa::path(get, path = "/v1/browse", operation_id = "get_browse",
    params(Fields<Browse>),
    responses((status = 200, body = Screen<Browse>)))]
async fn get_browse(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    fields: Fields<Browse>,
) -> Result<Screen<Browse>, Error> {
    Ok(Browse::assemble(&cx, &up, &fields).await?)
}

/// Get a title
#[utoipa::path(get, path = "/v1/titles/{id}", operation_id = "get_title",
    params(TitleQuery, ("id" = inline(ProductId), Path, description = "The title", example = "p-1"),
           Fields<TitlePage>),
    responses((status = 200, body = Screen<TitlePage>)))]
async fn get_title(
    cx: RequestContext,
    State(up): State<Arc<Upstreams>>,
    Path(id): Path<ProductId>,
    Query(query): Query<TitleQuery>,
    fields: Fields<TitlePage>,
) -> Result<Screen<TitlePage>, Error> {
    Ok(TitlePage::assemble(&cx, &up, &id, query.device, &fields).await?)
}

/// Send one heartbeat of the playback
#[utoipa::path(post, path = "/v1/titles/{id}/heartbeat", operation_id = "send_heartbeat",
    params(("id" = inline(ProductId), Path, description = "The title, such as `p-1`")), request_body = Position,
    responses((status = 200, body = Beat)), security(("bearer" = [])))]
async fn post_heartbeat(
    cx: RequestContext,
    Authenticated(caller): Authenticated,
    State(up): State<Arc<Upstreams>>,
    Path(id): Path<ProductId>,
    Body(position): Body<Position>,
) -> Result<Json<Beat>, Error> {
    Ok(Json(heartbeat(&cx, &up, &caller, &id, position).await?))
}

/// Open a playback stream
///
/// While the stream is open, the gateway sends the heartbeats to the backend and advances the position by one second per
/// second. Each event `beat` carries a `Beat`. Close the stream to pause or to seek, and open another
/// one to continue. If the stream fails, its last event has the name `problem` and carries a problem document. If the
/// gateway shuts down, its last event has the name `shutdown`: open another stream.
#[utoipa::path(post, path = "/v1/titles/{id}/playing", operation_id = "play_title",
    params(("id" = inline(ProductId), Path, description = "The title, such as `p-1`")), request_body = Position,
    responses((status = 200, body = PlaybackEvent, content_type = "text/event-stream")), security(("bearer" = [])))]
async fn post_playing(
    cx: RequestContext,
    Authenticated(caller): Authenticated,
    State(up): State<Arc<Upstreams>>,
    Path(id): Path<ProductId>,
    Body(start): Body<Position>,
) -> Result<SseStream<impl Stream<Item = Result<Beat, Error>>>, Error> {
    let beats = playback_events(&cx, &up, &caller, &id, start).await?;
    Ok(SseStream::new(cx, "beat", beats.map_err(Error::from)))
}
