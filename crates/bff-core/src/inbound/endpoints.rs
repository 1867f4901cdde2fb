//! The endpoints of a gateway: each route with its OpenAPI description and its options.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::{Extension, Router};
use http::request::Parts;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::action::Completion;
use crate::context::{RequestContext, Urgency};
use crate::error::Error;
use crate::routes::RouteLimits;

/// The options of one route, which the edge applies.
#[derive(Clone, Copy, Debug)]
pub struct EndpointOptions {
    /// The largest request body. `None`: `inbound.max_body_bytes`.
    pub max_body_bytes: Option<usize>,
    /// The time until the response's headers are sent. `None`: `inbound.deadline`.
    pub timeout: Option<Duration>,
    /// The idle timeout of a streaming response. The deadline applies to its headers only. `None`: not a stream.
    pub stream_idle: Option<Duration>,
    /// The highest urgency of the route (RFC 9218). A route for polls has [`Urgency::BACKGROUND`].
    pub urgency: Urgency,
    /// The rule that detects a write.
    pub write_detection: WriteDetection,
}

/// The rule that detects a write. Under overload, writes are shed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteDetection {
    /// By the method: every method except GET, HEAD and OPTIONS is a write.
    ByMethod,
    /// The route never writes. A POST only carries a query.
    ReadOnly,
    /// By the body. Each request is admitted as a write. After the endpoint has parsed a read, it calls
    /// `AdmissionTicket::recheck_as_read`.
    ByBody,
}

impl EndpointOptions {
    /// The options of a screen: the whole response by the deadline.
    pub const SCREEN: Self = Self {
        max_body_bytes: None,
        timeout: None,
        stream_idle: None,
        urgency: Urgency::DEFAULT,
        write_detection: WriteDetection::ByMethod,
    };

    /// The options of a proxy route: the response's headers by a deadline, then a stream.
    pub(crate) fn for_proxy_route(limits: RouteLimits) -> Self {
        Self {
            max_body_bytes: usize::try_from(limits.max_body_bytes).ok(),
            timeout: limits.timeout,
            stream_idle: Some(limits.idle_timeout),
            ..Self::SCREEN
        }
    }
}

/// The options of every route, by its template.
pub(crate) type Table = HashMap<String, EndpointOptions>;

/// The body limits of the matched route, for the extractors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimit {
    pub(crate) bytes: usize,
    pub(crate) timeout: Duration,
}

/// Routes that are not screens, with their OpenAPI description. The options apply to the described routes only.
pub struct ExtraRoutes {
    pub(crate) router: Router,
    pub(crate) api: OpenApi,
    pub(crate) options: EndpointOptions,
    /// The GraphQL schema as text.
    pub(crate) sdl: Option<Sdl>,
}

/// Writes a GraphQL schema as text.
pub(crate) type Sdl = Arc<dyn Fn() -> String + Send + Sync>;

/// The endpoints of a gateway.
pub struct Endpoints<S> {
    routes: OpenApiRouter<S>,
    /// Routes that are not screens. Their handlers get the [`Completion`] as an extension.
    extra: Router,
    table: Table,
    sdl: Option<Sdl>,
}

impl<S: Clone + Send + Sync + 'static> Endpoints<S> {
    /// Starts without routes. `api` holds the OpenAPI document's `info` and other general parts.
    pub fn new(api: OpenApi) -> Self {
        Self {
            routes: OpenApiRouter::with_openapi(api),
            extra: Router::new(),
            table: Table::new(),
            sdl: None,
        }
    }

    /// Adds the route of a screen, made by utoipa-axum's `routes!`.
    #[must_use]
    pub fn screen(self, routes: UtoipaMethodRouter<S>) -> Self {
        self.endpoint(EndpointOptions::SCREEN, routes)
    }

    /// Adds a route with its own options.
    #[must_use]
    pub fn endpoint(mut self, options: EndpointOptions, routes: UtoipaMethodRouter<S>) -> Self {
        let paths = routes.1.paths.keys().cloned();
        self.table.extend(paths.map(|path| (path, options)));
        self.routes = self.routes.routes(routes);
        self
    }

    /// Adds routes that are not screens, such as GraphQL's.
    #[must_use]
    pub fn merge(mut self, extra: ExtraRoutes) -> Self {
        let paths = extra.api.paths.paths.keys().cloned();
        self.table.extend(paths.map(|path| (path, extra.options)));
        let mut routes = OpenApiRouter::new();
        self.extra = self.extra.merge(extra.router);
        *routes.get_openapi_mut() = extra.api;
        self.sdl = self.sdl.or(extra.sdl);
        self.routes = self.routes.merge(routes);
        self
    }

    /// The GraphQL schema as text, if there are GraphQL routes.
    pub(crate) fn sdl(&self) -> Option<Sdl> {
        self.sdl.clone()
    }

    pub(crate) fn into_parts(self, state: S, completion: Completion) -> (Router, OpenApi, Table) {
        let (router, api) = self.routes.with_state(state).split_for_parts();
        let extra = self.extra.layer(Extension(completion));
        (router.merge(extra), api, self.table)
    }
}

/// The authenticated caller, else 401.
///
/// Place it before path and query in a handler's parameters: then only authenticated callers receive their errors.
#[derive(Debug)]
pub struct Authenticated(pub crate::scope::Caller);

impl<S: Sync> FromRequestParts<S> for Authenticated {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let cx = RequestContext::from_request_parts(parts, state).await?;
        cx.require_caller().cloned().map(Self)
    }
}
