//! Routes as a gateway declares them: each with its OpenAPI text and its own limits.

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

/// What holds for one route. Limits are properties of a route, read by the edge.
#[derive(Clone, Copy, Debug)]
pub struct EndpointOptions {
    /// The largest request body, if not the gateway's.
    pub max_body_bytes: Option<usize>,
    /// How long the head may take, if not as long as any other.
    pub timeout: Option<Duration>,
    /// A stream: the head is out by the deadline, and after that no silence is longer than this.
    pub stream_idle: Option<Duration>,
    /// The most urgent this route can be (RFC 9218); of a route for polls [`Urgency::BACKGROUND`].
    pub urgency: Urgency,
    /// How it shows that a request changes something.
    pub write_detection: WriteDetection,
}

/// How it shows that a request through a route changes something: under overload writes are refused last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteDetection {
    /// By its method: every one but GET, HEAD and OPTIONS.
    ByMethod,
    /// Nothing does; a POST only carries the question.
    ReadOnly,
    /// By its body. Each request comes in as a write, and the door says what it is once it has read it:
    /// `Standing::is_a_read`.
    ByBody,
}

impl EndpointOptions {
    /// A screen: a whole answer by the deadline.
    pub const SCREEN: Self = Self {
        max_body_bytes: None,
        timeout: None,
        stream_idle: None,
        urgency: Urgency::DEFAULT,
        write_detection: WriteDetection::ByMethod,
    };

    /// A route that passes requests on: its head by a deadline, then streams.
    pub(crate) fn for_proxy_route(terms: RouteLimits) -> Self {
        Self {
            max_body_bytes: usize::try_from(terms.max_body_bytes).ok(),
            timeout: terms.timeout,
            stream_idle: Some(terms.idle),
            ..Self::SCREEN
        }
    }
}

/// The limits of every route by its template.
pub(crate) type Table = HashMap<String, EndpointOptions>;

/// The body limit of the route a request came through, for the extractors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimit {
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

/// Routes that are no screens: how they are described, and what holds for those that are.
pub struct ExtraRoutes {
    pub(crate) router: Router,
    pub(crate) api: OpenApi,
    pub(crate) door: EndpointOptions,
    /// The GraphQL schema as text.
    pub(crate) sdl: Option<Sdl>,
}

/// Writes a GraphQL schema as text.
pub(crate) type Sdl = Arc<dyn Fn() -> String + Send + Sync>;

/// A gateway's routes.
pub struct Endpoints<S> {
    routes: OpenApiRouter<S>,
    /// Routes that are no screens. Their handlers get the [`Completion`] as an extension.
    extra: Router,
    table: Table,
    sdl: Option<Sdl>,
}

impl<S: Clone + Send + Sync + 'static> Endpoints<S> {
    /// No routes yet; `api` is the head of the OpenAPI document.
    pub fn new(api: OpenApi) -> Self {
        Self {
            routes: OpenApiRouter::with_openapi(api),
            extra: Router::new(),
            table: Table::new(),
            sdl: None,
        }
    }

    /// Adds a screen's route, made by utoipa-axum's `routes!`.
    #[must_use]
    pub fn screen(self, routes: UtoipaMethodRouter<S>) -> Self {
        self.endpoint(EndpointOptions::SCREEN, routes)
    }

    /// Adds a route with limits of its own.
    #[must_use]
    pub fn endpoint(mut self, door: EndpointOptions, routes: UtoipaMethodRouter<S>) -> Self {
        let paths = routes.1.paths.keys().cloned();
        self.table.extend(paths.map(|path| (path, door)));
        self.routes = self.routes.routes(routes);
        self
    }

    /// Adds routes that are no screens, such as GraphQL's.
    #[must_use]
    pub fn merge(mut self, beside: ExtraRoutes) -> Self {
        let paths = beside.api.paths.paths.keys().cloned();
        self.table.extend(paths.map(|path| (path, beside.door)));
        let mut routes = OpenApiRouter::new();
        self.extra = self.extra.merge(beside.router);
        *routes.get_openapi_mut() = beside.api;
        self.sdl = self.sdl.or(beside.sdl);
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

/// Whoever is signed in, or 401. Named before path and query, so that nobody else learns what those accept.
#[derive(Debug)]
pub struct Authenticated(pub crate::scope::Caller);

impl<S: Sync> FromRequestParts<S> for Authenticated {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let cx = RequestContext::from_request_parts(parts, state).await?;
        cx.require_caller().cloned().map(Self)
    }
}
