//! The admin port: for operators and probes, never public. Reading is open on it; changing anything needs the admin
//! token, and is told in the audit log.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use subtle::ConstantTimeEq;

use super::Config;
use super::dependencies::Dependency;
use super::readiness::Readiness;
use crate::cache::Purge;
use crate::config::Secret;
use crate::context::{GatewayHandles, RequestId};
use crate::error::{Error, codes};
use crate::inbound::Peer;
use crate::store::{Store, StoreUnavailable};
use crate::telemetry::Metrics;

/// The largest body of a change.
const MAX_BODY_BYTES: usize = 256 << 10;

/// What can be read. `config` is the effective configuration with its secrets masked.
pub(super) fn router(shows: ReadinessReport, metrics: Metrics, config: String) -> Router {
    let text = |body: String, kind: &'static str| ([(header::CONTENT_TYPE, kind)], body);
    Router::new()
        .route("/livez", get(|| async { "alive" }))
        .route("/readyz", get(move || ready(shows.clone())))
        .route(
            "/metrics",
            get(move || async move { text(metrics.render(), "text/plain; version=0.0.4") }),
        )
        .route(
            "/config",
            get(move || async move { text(config.clone(), "application/toml") }),
        )
}

/// What can be changed: `POST /cache/purge` with a [`Purge`] of what these backends answered.
pub(super) fn changes(
    shared: &Arc<GatewayHandles>,
    config: &Config,
    backends: Vec<&'static str>,
) -> Router {
    let changes = Arc::new(AdminActions {
        shared: shared.clone(),
        backends,
        token: config.admin_token.clone(),
        public_url: config.public_url.trim_end_matches('/').to_owned(),
    });
    let purge = move |peer: Option<Extension<Peer>>, headers: HeaderMap, body: Bytes| async move {
        let done = changes.purge(&headers, &body).await;
        let peer = peer.and_then(|peer| peer.0.0);
        changes.answer("/cache/purge", peer.map(|p| p.to_string()), done)
    };
    Router::new()
        .route("/cache/purge", post(purge))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// Whether it wants traffic, and what is wrong that it can do without. Cheap to clone.
#[derive(Clone)]
pub(super) struct ReadinessReport {
    readiness: Readiness,
    store: Store,
    known: Arc<[Dependency]>,
}

impl ReadinessReport {
    pub(super) fn new(readiness: Readiness, store: Store, known: Vec<Dependency>) -> Self {
        Self {
            readiness,
            store,
            known: known.into(),
        }
    }
}

/// A store that is away and a backend that is down are shown and fail nothing: a gateway without them still answers.
async fn ready(shows: ReadinessReport) -> Response {
    let status = if shows.readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = shows.readiness.as_str().to_owned();
    if shows.store.is_redis() {
        body = format!("{body}, store: {}", shows.store.as_str());
    }
    for backend in &*shows.known {
        if let Some(reason) = backend.unhealthy_reason() {
            body = format!("{body}, {}: {}", backend.name(), reason.as_str());
        }
    }
    (status, body).into_response()
}

struct AdminActions {
    shared: Arc<GatewayHandles>,
    /// The names there are.
    backends: Vec<&'static str>,
    token: Option<Secret>,
    public_url: String,
}

impl AdminActions {
    /// Kills copies, here at once; says how many names were purged, as of when, and how far that reached: `replicas` is
    /// all that share a store, within a second, `this` the only one there is, and `later` is when the store is back.
    async fn purge(&self, headers: &HeaderMap, body: &[u8]) -> Result<serde_json::Value, Error> {
        self.authorize(headers)?;
        let purge: Purge = serde_json::from_slice(body).map_err(|error| {
            Error::new(
                codes::INVALID_REQUEST,
                format!("The body is no purge: {error}."),
            )
        })?;
        let names = purge
            .count()
            .map_err(|why| Error::new(codes::INVALID_REQUEST, why))?;
        // Purging what is not there would tell whoever mistyped a name that it is done.
        let unknown = purge.backends().find(|name| !self.backends.contains(name));
        if let Some(name) = unknown {
            let known = self.backends.join(", ");
            let detail = format!("There is no backend {name:?} here, only {known}.");
            return Err(Error::new(codes::INVALID_REQUEST, detail));
        }
        let at = self.shared.env.unix_millis();
        let cache = &self.shared.cache;
        cache.purge(&purge, at);
        let scope = match cache.sync(&self.shared.env).await {
            Ok(true) => "all_replicas",
            Ok(false) => "local",
            Err(StoreUnavailable) => "pending",
        };
        Ok(serde_json::json!({ "purged": names, "atMs": at, "scope": scope }))
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Error> {
        let Some(token) = &self.token else {
            let why = "server.admin_token is not set, so nothing can be changed here.";
            return Err(Error::new(codes::FORBIDDEN, why));
        };
        let sent = headers.get(header::AUTHORIZATION);
        // The scheme's name has no case (RFC 9110 §11.1).
        let sent = sent.and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(b"bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        });
        let same = sent.is_some_and(|sent| sent.ct_eq(token.expose().as_bytes()).into());
        if same {
            Ok(())
        } else {
            let why = "Send the admin token: Authorization: Bearer.";
            Err(Error::new(codes::UNAUTHENTICATED, why))
        }
    }

    /// Tells what came of a change, to whoever asked for it and to the audit log.
    fn answer(
        &self,
        path: &'static str,
        peer: Option<String>,
        done: Result<serde_json::Value, Error>,
    ) -> Response {
        let id = RequestId::generate(&self.shared.env);
        let outcome = done.as_ref().map_or_else(|e| e.code().name(), |_| "done");
        tracing::info!(
            target: "audit",
            action = path,
            outcome,
            peer,
            request_id = id.as_str(),
            client = self.shared.client.to_str().unwrap_or_default(),
            done = done.as_ref().ok().map(tracing::field::display),
            "{path} {outcome}"
        );
        let json = |status: StatusCode, kind: &'static str, body: Vec<u8>| {
            let headers = [
                (header::CONTENT_TYPE, kind),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (status, headers, body).into_response()
        };
        match done {
            Ok(told) => json(StatusCode::OK, "application/json", told.to_string().into()),
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
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::cache::{self, Cache};
    use crate::context::Env;
    use crate::telemetry::logs::{Format, tests::logged};

    fn changes(token: &str) -> AdminActions {
        let world = Env::real();
        let shared = GatewayHandles {
            client: HeaderValue::from_static("web"),
            tasks: TaskTracker::new(),
            shutdown: tokio_util::sync::CancellationToken::new(),
            metrics: Metrics::noop(),
            cache: Cache::new(&cache::Config::default(), &world),
            fields: crate::section::fields::FieldCache::default(),
            env: world,
        };
        AdminActions {
            shared: Arc::new(shared),
            backends: Vec::new(),
            token: Some(Secret::new(token)),
            public_url: "https://shop.example".into(),
        }
    }

    #[test]
    fn every_change_and_every_attempt_leaves_one_audit_line_without_the_token() {
        for (sent, outcome) in [
            ("Bearer t0p-secret", "done"),
            ("bearer t0p-secret", "done"),
            ("Bearer t0p-guess", "unauthenticated"),
            ("t0p-secret", "unauthenticated"),
        ] {
            let changes = changes("t0p-secret");
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(sent));
            let text = logged(Format::Json, "info", || {
                let done = changes.purge(&headers, br#"{"tags": ["a"]}"#);
                // There is nobody to tell, and nothing to wait for.
                let done = done.now_or_never().unwrap();
                changes.answer("/cache/purge", Some("192.0.2.1:9".into()), done);
            });
            assert_eq!(text.lines().count(), 1);
            assert!(!text.contains("t0p"), "{text}");
            let line: Value = serde_json::from_str(&text).unwrap();
            let told = json!([
                line["target"],
                line["action"],
                line["outcome"],
                line["peer"]
            ]);
            assert_eq!(
                told,
                json!(["audit", "/cache/purge", outcome, "192.0.2.1:9"])
            );
        }
    }
}
