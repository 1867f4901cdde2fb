//! The control port (3999): faults, statistics, signing keys and data.
//!
//! - `GET /faults` → `{"review":[Fault], ...}`, `GET /faults/{backend}` → `[Fault]`
//! - `PUT /faults/{backend}` adds one Fault (see [`crate::Fault`]) and returns the active faults of the backend
//! - `DELETE /faults`, `DELETE /faults/{backend}` → 204
//! - `GET /stats`, `GET /stats/{backend}` → [`crate::Stats`]; `DELETE /stats` → 204
//! - `POST /reset` → 204 (resets the data, but neither faults nor statistics)
//! - `POST /auth/rotate` → 204; `GET /health` → `{"status":"ok"}`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http::StatusCode;

use crate::backend::Backend;
use crate::faults::Fault;
use crate::response::{HandlerResult, Problem, no_content, private};
use crate::state::MockState;

pub(crate) fn routes(state: Arc<MockState>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/faults", get(list_faults).delete(clear_all_faults))
        .route(
            "/faults/{backend}",
            get(show_faults).put(set_fault).delete(clear_faults),
        )
        .route("/stats", get(list_stats).delete(clear_stats))
        .route("/stats/{backend}", get(show_stats))
        .route("/reset", post(reset))
        .route("/auth/rotate", post(rotate_keys))
        .with_state(state)
}

async fn health() -> Response {
    private(StatusCode::OK, &serde_json::json!({ "status": "ok" }))
}

async fn list_faults(State(state): State<Arc<MockState>>) -> Response {
    let all = Backend::ALL
        .into_iter()
        .map(|b| (b.name(), state.recorder(b).faults.lock().list()));
    private(StatusCode::OK, &all.collect::<BTreeMap<_, _>>())
}

async fn show_faults(
    State(state): State<Arc<MockState>>,
    Path(backend): Path<String>,
) -> HandlerResult {
    let backend = parse_backend(&backend)?;
    Ok(private(
        StatusCode::OK,
        &state.recorder(backend).faults.lock().list(),
    ))
}

async fn set_fault(
    State(state): State<Arc<MockState>>,
    Path(backend): Path<String>,
    body: Bytes,
) -> HandlerResult {
    let backend = parse_backend(&backend)?;
    let fault: Fault =
        serde_json::from_slice(&body).map_err(|e| Problem::bad_request(e.to_string()))?;
    state
        .set_fault(backend, fault)
        .map_err(Problem::bad_request)?;
    Ok(private(
        StatusCode::OK,
        &state.recorder(backend).faults.lock().list(),
    ))
}

async fn clear_faults(
    State(state): State<Arc<MockState>>,
    Path(backend): Path<String>,
) -> HandlerResult {
    state.clear_faults(Some(parse_backend(&backend)?));
    Ok(no_content())
}

async fn clear_all_faults(State(state): State<Arc<MockState>>) -> Response {
    state.clear_faults(None);
    no_content()
}

async fn list_stats(State(state): State<Arc<MockState>>) -> Response {
    let all = Backend::ALL
        .into_iter()
        .map(|b| (b.name(), state.recorder(b).counters.lock().snapshot()));
    private(StatusCode::OK, &all.collect::<BTreeMap<_, _>>())
}

async fn show_stats(
    State(state): State<Arc<MockState>>,
    Path(backend): Path<String>,
) -> HandlerResult {
    let backend = parse_backend(&backend)?;
    Ok(private(
        StatusCode::OK,
        &state.recorder(backend).counters.lock().snapshot(),
    ))
}

async fn clear_stats(State(state): State<Arc<MockState>>) -> Response {
    state.clear_stats();
    no_content()
}

async fn reset(State(state): State<Arc<MockState>>) -> Response {
    state.reset();
    no_content()
}

async fn rotate_keys(State(state): State<Arc<MockState>>) -> Response {
    state.auth.rotate();
    no_content()
}

fn parse_backend(backend: &str) -> Result<Backend, Problem> {
    let parsed = backend.parse::<Backend>();
    parsed.map_err(|e| Problem::new(StatusCode::NOT_FOUND, "not_found", e.to_string()))
}
