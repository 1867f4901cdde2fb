//! The admin port: for operators and probes, never public.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::readiness::Readiness;
use crate::telemetry::Metrics;

/// Its routes. `config` is the effective configuration with its secrets masked.
pub(super) fn router(readiness: Readiness, metrics: Metrics, config: String) -> Router {
    let text = |body: String, kind: &'static str| ([(header::CONTENT_TYPE, kind)], body);
    Router::new()
        .route("/livez", get(|| async { "alive" }))
        .route("/readyz", get(move || ready(readiness.clone())))
        .route(
            "/metrics",
            get(move || async move { text(metrics.render(), "text/plain; version=0.0.4") }),
        )
        .route(
            "/config",
            get(move || async move { text(config.clone(), "application/toml") }),
        )
}

async fn ready(readiness: Readiness) -> Response {
    let status = if readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, readiness.as_str()).into_response()
}
