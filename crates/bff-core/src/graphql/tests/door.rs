//! The door before the schema of the shelf, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::{EmptySubscription, Schema};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Request, header};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::shelf::{Fetches, Mutation, Query};
use crate::config::Mode;
use crate::context::{Env, GatewayHandles, RequestContext};
use crate::error::Error;
use crate::graphql::{Config, routes};
use crate::inbound::endpoints::BodyLimit;
use crate::telemetry::Metrics;

/// A gateway with the schema and nothing else.
pub(super) struct Door {
    router: Router,
    limit: BodyLimit,
    pub(super) fetches: Fetches,
    pub(super) cx: RequestContext,
}

impl Door {
    pub(super) fn open(config: &Config, mode: Mode) -> Self {
        let shared = Arc::new(GatewayHandles {
            client: http::HeaderValue::from_static("web"),
            env: Env::real(),
            tasks: tokio_util::task::TaskTracker::new(),
            shutdown: tokio_util::sync::CancellationToken::new(),
            metrics: Metrics::noop(),
            cache: crate::cache::Cache::new(&crate::cache::Config::default(), &Env::real()),
            fields: crate::section::fields::FieldCache::default(),
        });
        let fetches = Fetches::default();
        let schema = Schema::build(Query, Mutation, EmptySubscription).data(fetches.clone());
        let routes = routes(schema, config, mode);
        Self {
            limit: BodyLimit {
                bytes: routes.door.max_body_bytes.unwrap(),
                time: Duration::from_secs(5),
            },
            router: routes.router,
            fetches,
            cx: RequestContext::background(&shared, Duration::from_secs(5)),
        }
    }

    pub(super) fn production() -> Self {
        Self::open(&Config::default(), Mode::Production)
    }

    pub(super) fn development() -> Self {
        Self::open(&Config::default(), Mode::Development)
    }

    pub(super) async fn send(&self, mut request: Request<Body>) -> Response {
        request.extensions_mut().insert(self.cx.clone());
        request.extensions_mut().insert(self.limit);
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(super) async fn ask(&self, body: Value) -> Asked {
        let request = Request::post("/graphql")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/graphql-response+json")
            .body(Body::from(body.to_string()))
            .unwrap();
        Asked::of(self.send(request).await).await
    }

    pub(super) async fn query(&self, document: &str) -> Asked {
        self.ask(json!({"query": document})).await
    }
}

/// An answer, read.
pub(super) struct Asked {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    /// For the log.
    pub(super) failure: Option<Error>,
    pub(super) body: Value,
}

impl Asked {
    pub(super) async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            failure: parts.extensions.get().cloned(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    /// The data of an answer without errors.
    pub(super) fn data(&self) -> &Value {
        assert_eq!(self.body.get("errors"), None, "{}", self.body);
        &self.body["data"]
    }

    /// The text of the one error of a document that was refused.
    pub(super) fn refusal(&self) -> &str {
        assert_eq!(self.status, 400, "{}", self.body);
        assert_eq!(self.body.get("data"), None);
        assert_eq!(
            self.body["errors"][0]["extensions"]["code"],
            "invalid_request"
        );
        self.body["errors"][0]["message"].as_str().unwrap()
    }
}
