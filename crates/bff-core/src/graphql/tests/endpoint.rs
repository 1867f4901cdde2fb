//! The GraphQL endpoint with the shelf's schema, and its responses.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::{EmptySubscription, ObjectType, Schema, SchemaBuilder};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Request, header};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::shelf::{Fetches, Mutation, Query};
use crate::GatewayHandles;
use crate::action::Completion;
use crate::config::Mode;
use crate::context::{Env, RequestContext};
use crate::error::Error;
use crate::graphql::{Config, routes};
use crate::inbound::endpoints::BodyLimit;

/// The endpoint and a request context.
pub(super) struct TestEndpoint {
    router: Router,
    limit: BodyLimit,
    pub(super) fetches: Fetches,
    /// The writes that still run.
    pub(super) tasks: TaskTracker,
    pub(super) cx: RequestContext,
}

impl TestEndpoint {
    pub(super) fn open(config: &Config, mode: Mode) -> Self {
        let fetches = Fetches::default();
        let schema = Schema::build(Query, Mutation, EmptySubscription).data(fetches.clone());
        Self {
            fetches,
            ..Self::with_schema(schema, config, mode)
        }
    }

    pub(super) fn with_schema<Q: ObjectType + 'static, M: ObjectType + 'static>(
        schema: SchemaBuilder<Q, M, EmptySubscription>,
        config: &Config,
        mode: Mode,
    ) -> Self {
        let shared = Arc::new(GatewayHandles::in_process("web", Env::real()));
        let routes = routes(schema, config, mode).unwrap();
        Self {
            limit: BodyLimit {
                bytes: routes.options.max_body_bytes.unwrap(),
                timeout: Duration::from_secs(5),
            },
            router: routes
                .router
                .layer(axum::Extension(Completion::new(&shared.tasks))),
            tasks: shared.tasks.clone(),
            fetches: Fetches::default(),
            cx: RequestContext::background(&shared.client, &shared.env, Duration::from_secs(5)),
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

    pub(super) async fn send_body(&self, body: Value) -> TestResponse {
        let request = Request::post("/graphql")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/graphql-response+json")
            .body(Body::from(body.to_string()))
            .unwrap();
        TestResponse::read(self.send(request).await).await
    }

    pub(super) async fn query(&self, document: &str) -> TestResponse {
        self.send_body(json!({"query": document})).await
    }
}

/// A response with its parsed body.
pub(super) struct TestResponse {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    /// The error for the access log.
    pub(super) failure: Option<Error>,
    pub(super) body: Value,
}

impl TestResponse {
    pub(super) async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            failure: parts.extensions.get().cloned(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    /// The data of a response without errors.
    pub(super) fn data(&self) -> &Value {
        assert_eq!(self.body.get("errors"), None, "{}", self.body);
        &self.body["data"]
    }

    /// The text of the first error of a document that was not executed.
    pub(super) fn error_text(&self) -> &str {
        assert_eq!(self.status, 400, "{}", self.body);
        assert_eq!(self.body.get("data"), None);
        assert_eq!(
            self.body["errors"][0]["extensions"]["code"],
            "invalid_request"
        );
        self.body["errors"][0]["message"].as_str().unwrap()
    }
}
