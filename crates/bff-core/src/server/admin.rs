//! The admin port, for operators and probes. It must not be public. Reads need no token. Changes need the admin token,
//! and the audit log records them.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bff_context::field_value;
use subtle::ConstantTimeEq;

use super::Config;
use super::dependencies::Dependency;
use super::readiness::Readiness;
use crate::GatewayHandles;
use crate::cache::Purge;
use crate::config::Secret;
use crate::context::RequestId;
use crate::error::{Error, codes};
use crate::inbound::Peer;
use crate::store::{Store, StoreUnavailable};
use crate::telemetry::Metrics;

/// Maximum size of a request body.
const MAX_BODY_BYTES: usize = 256 << 10;

/// The endpoints for reads. `print_config` returns the effective configuration with masked secrets.
pub(super) fn router(
    report: ReadinessReport,
    metrics: Metrics,
    print_config: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> Router {
    let text =
        |body: String, content_type: &'static str| ([(header::CONTENT_TYPE, content_type)], body);
    Router::new()
        .route("/livez", get(|| async { "alive" }))
        .route("/readyz", get(move || readyz(report.clone())))
        .route(
            "/metrics",
            get(move || async move { text(metrics.render(), "text/plain; version=0.0.4") }),
        )
        .route(
            "/config",
            get(move || async move { text(print_config(), "application/toml") }),
        )
}

/// The endpoints for changes: `POST /cache/purge` with a [`Purge`] for `backends`.
pub(super) fn action_router(
    shared: &Arc<GatewayHandles>,
    config: &Config,
    backends: Vec<&'static str>,
) -> Router {
    let actions = Arc::new(AdminActions {
        shared: shared.clone(),
        backends,
        token: config.admin_token.clone(),
        public_url: config.public_url.trim_end_matches('/').to_owned(),
    });
    let purge = move |peer: Option<Extension<Peer>>, headers: HeaderMap, body: Bytes| async move {
        let result = actions.purge(&headers, &body).await;
        let peer = peer.and_then(|peer| peer.0.0);
        actions.respond("/cache/purge", peer.map(|p| p.to_string()), result)
    };
    Router::new()
        .route("/cache/purge", post(purge))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// The data for `/readyz`: the readiness, the store and the dependencies. Cheap to clone.
#[derive(Clone)]
pub(super) struct ReadinessReport {
    readiness: Readiness,
    store: Store,
    dependencies: Arc<[Dependency]>,
}

impl ReadinessReport {
    pub(super) fn new(readiness: Readiness, store: Store, dependencies: Vec<Dependency>) -> Self {
        Self {
            readiness,
            store,
            dependencies: dependencies.into(),
        }
    }
}

/// Shows an unavailable store and unhealthy dependencies. They do not fail readiness: the gateway works without them.
async fn readyz(report: ReadinessReport) -> Response {
    let status = if report.readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = report.readiness.as_str().to_owned();
    if report.store.is_redis() {
        body = format!("{body}, store: {}", report.store.as_str());
    }
    for dependency in &*report.dependencies {
        if let Some(reason) = dependency.unhealthy_reason() {
            body = format!("{body}, {}: {}", dependency.name(), reason.as_str());
        }
    }
    (status, body).into_response()
}

struct AdminActions {
    shared: Arc<GatewayHandles>,
    /// The names of all backends.
    backends: Vec<&'static str>,
    token: Option<Secret>,
    public_url: String,
}

impl AdminActions {
    /// Invalidates cache entries on this replica immediately. Returns the number of purged names, the timestamp, and
    /// the scope. `all_replicas`: the purge reaches all replicas within a second. `local`: there is no shared store.
    /// `pending`: the other replicas follow when Redis recovers.
    async fn purge(&self, headers: &HeaderMap, body: &[u8]) -> Result<serde_json::Value, Error> {
        self.authorize(headers)?;
        let purge: Purge = serde_json::from_slice(body).map_err(|error| {
            Error::new(
                codes::INVALID_REQUEST,
                format!("Invalid purge request: {error}."),
            )
        })?;
        let names = purge
            .count()
            .map_err(|detail| Error::new(codes::INVALID_REQUEST, detail))?;
        // An unknown name is an error: with 200 a typo would stay unnoticed.
        let unknown = purge.backends().find(|name| !self.backends.contains(name));
        if let Some(name) = unknown {
            let backends = self.backends.join(", ");
            let detail = format!("Unknown backend {name:?}; this gateway has {backends}.");
            return Err(Error::new(codes::INVALID_REQUEST, detail));
        }
        let at = self.shared.env.unix_millis();
        let cache = &self.shared.cache;
        cache.purge(&purge, at);
        let scope = match cache.sync().await {
            Ok(true) => "all_replicas",
            Ok(false) => "local",
            Err(StoreUnavailable) => "pending",
        };
        Ok(serde_json::json!({ "purged": names, "atMs": at, "scope": scope }))
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Error> {
        let Some(token) = &self.token else {
            let detail = "Changes are disabled: server.admin_token is not set.";
            return Err(Error::new(codes::FORBIDDEN, detail));
        };
        let value = field_value::single(headers, &header::AUTHORIZATION);
        // The name of the scheme is case-insensitive, and one or more spaces follow it (RFC 9110 §11.4).
        let sent = value.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            let token = token.trim_start_matches(' ').as_bytes();
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        });
        let is_valid = sent.is_some_and(|sent| sent.ct_eq(token.expose().as_bytes()).into());
        if is_valid {
            Ok(())
        } else {
            let detail =
                "The admin token is missing or invalid. Send it as Authorization: Bearer <token>.";
            Err(Error::new(codes::UNAUTHENTICATED, detail))
        }
    }

    /// Writes the audit log line and returns the response.
    fn respond(
        &self,
        path: &'static str,
        peer: Option<String>,
        result: Result<serde_json::Value, Error>,
    ) -> Response {
        let id = RequestId::generate(&self.shared.env);
        let outcome = result.as_ref().map_or_else(|e| e.code().name(), |_| "done");
        tracing::info!(
            target: "audit",
            action = path,
            outcome,
            peer,
            request_id = id.as_str(),
            client = self.shared.client.to_str().unwrap_or_default(),
            done = result.as_ref().ok().map(tracing::field::display),
            "{path} {outcome}"
        );
        let json = |status: StatusCode, content_type: &'static str, body: Vec<u8>| {
            let headers = [
                (header::CONTENT_TYPE, content_type),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (status, headers, body).into_response()
        };
        match result {
            Ok(value) => json(StatusCode::OK, "application/json", value.to_string().into()),
            Err(error) => {
                let body = error.problem(&self.public_url, path, id.as_str());
                let mut response = json(error.status(), "application/problem+json", body);
                if error.status() == StatusCode::UNAUTHORIZED {
                    let challenge = HeaderValue::from_static("Bearer realm=\"admin\"");
                    (response.headers_mut()).insert(header::WWW_AUTHENTICATE, challenge);
                }
                response
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::{Value, json};

    use super::*;
    use crate::context::Env;
    use crate::telemetry::logs::{Format, testing::logged};

    fn actions(token: &str) -> AdminActions {
        let shared = GatewayHandles::in_process("web", Env::real());
        AdminActions {
            shared: Arc::new(shared),
            backends: Vec::new(),
            token: Some(Secret::new(token)),
            public_url: "https://shop.example".into(),
        }
    }

    #[test]
    fn every_change_and_every_refusal_has_one_audit_line_without_the_token() {
        for (sent, outcome) in [
            ("Bearer t0p-secret", "done"),
            ("bearer t0p-secret", "done"),
            ("Bearer t0p-guess", "unauthenticated"),
            ("t0p-secret", "unauthenticated"),
        ] {
            let actions = actions("t0p-secret");
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(sent));
            let text = logged(Format::Json, "info", || {
                let purge = actions.purge(&headers, br#"{"tags": ["a"]}"#);
                // Without a shared store the purge completes immediately.
                let result = purge.now_or_never().unwrap();
                actions.respond("/cache/purge", Some("192.0.2.1:9".into()), result);
            });
            assert_eq!(text.lines().count(), 1);
            assert!(!text.contains("t0p"), "{text}");
            let line: Value = serde_json::from_str(&text).unwrap();
            let fields = json!([
                line["target"],
                line["action"],
                line["outcome"],
                line["peer"]
            ]);
            assert_eq!(
                fields,
                json!(["audit", "/cache/purge", outcome, "192.0.2.1:9"])
            );
        }
    }
}
