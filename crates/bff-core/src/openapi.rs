//! The OpenAPI 3.1 document of a gateway: problem responses, security schemes, and the page `/docs`.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::auth;
use crate::error::{FieldError, Problem};
use crate::rate_limit::Limits;
use crate::routes::Configs;

mod proxy_routes;
mod rate_limits;

/// Content-Security-Policy of the page: scripts and styles come from this gateway, and some styles are inline.
const CSP: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                   style-src 'self' 'unsafe-inline'; font-src 'self'; frame-ancestors 'none'";

/// Adds the shared parts: the problem response, the security schemes, the rate limits and the proxy routes.
pub(crate) fn finalize(
    mut api: OpenApi,
    auth: &auth::Config,
    routes: &Configs,
    limits: &Limits,
) -> OpenApi {
    let components = api.components.get_or_insert_with(Components::new);
    let schemas = &mut components.schemas;
    schemas.insert("Problem".into(), Problem::schema());
    schemas.insert(FieldError::name().into(), FieldError::schema());
    let mut security = Vec::new();
    if auth.jwks.is_some() {
        security.push("bearer");
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT");
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    }
    if !auth.api_keys.is_empty() {
        security.push("apiKey");
        let key = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        components.add_security_scheme("apiKey", SecurityScheme::ApiKey(key));
    }
    let problem = ResponseBuilder::new()
        .description("A problem document (RFC 9457). Its `code` identifies the error.")
        .content(
            "application/problem+json",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .build(),
        )
        .build();
    for item in api.paths.paths.values_mut() {
        for operation in rate_limits::operations(item) {
            let responses = &mut operation.responses.responses;
            responses.insert("default".into(), RefOr::T(problem.clone()));
        }
    }
    for (path, item) in &mut api.paths.paths {
        rate_limits::add_headers(item, limits, path, false);
    }
    for (path, mut item) in proxy_routes::paths(routes, &security) {
        rate_limits::add_headers(&mut item, limits, &path, true);
        api.paths.paths.entry(path).or_insert(item);
    }
    if let (Some(components), true) = (&mut api.components, limits.is_configured()) {
        rate_limits::describe(components);
    }
    api
}

/// `/docs`: the reference page. All its files come from this gateway.
pub(crate) fn docs_page(api: OpenApi) -> Router {
    // The page has its own copy of the document, because `/openapi.json` is a system endpoint.
    let page = SwaggerUi::new("/docs").url("/docs/openapi.json", api);
    let page = page.config(Config::from("/docs/openapi.json").try_it_out_enabled(true));
    Router::from(page).layer(map_response(|mut response: Response| async {
        let csp = HeaderValue::from_static(CSP);
        response
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, csp);
        response
    }))
}
