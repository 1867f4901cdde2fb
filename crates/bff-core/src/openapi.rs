//! The OpenAPI 3.1 document of a gateway: problem responses, security schemes, and the page `/docs`.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi, Server};
use utoipa::{PartialSchema, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::auth;
use crate::error::{Code, FieldError, Problem};
use crate::rate_limit::Limits;
use crate::routes::Configs;
use operations::operations_mut;
use problems::Problems;

pub(crate) mod operations;
mod problems;
mod proxy_routes;
mod rate_limits;

/// Content-Security-Policy of the page: scripts and styles come from this gateway, and some styles are inline.
const CSP: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                   style-src 'self' 'unsafe-inline'; font-src 'self'; frame-ancestors 'none'";

/// Adds the shared parts: problem responses, security schemes, tags, rate limits and proxy routes.
pub(crate) fn finalize(
    mut api: OpenApi,
    auth: &auth::Config,
    routes: &Configs,
    limits: &Limits,
    domain_codes: &'static [Code],
) -> OpenApi {
    let mut components = api.components.take().unwrap_or_default();
    components
        .schemas
        .insert("Problem".into(), Problem::schema());
    components
        .schemas
        .insert(FieldError::name().into(), FieldError::schema());
    let security = add_security_schemes(auth, &mut components);
    let problems = Problems {
        domain_codes,
        has_credentials: !security.is_empty(),
        has_rate_limits: limits.is_configured(),
    };
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations_mut(item) {
            let is_read = method == HttpMethod::Get;
            operations::complete(operation, is_read, &security, &components);
            problems.add_to(operation, &mut components);
        }
        rate_limits::add_headers(item, limits, path, false);
    }
    for (path, mut item) in proxy_routes::paths(routes, &security) {
        rate_limits::add_headers(&mut item, limits, &path, true);
        api.paths.paths.entry(path).or_insert(item);
    }
    if limits.is_configured() {
        rate_limits::describe(&mut components);
    }
    let items = api.paths.paths.values_mut();
    let all = items.flat_map(|item| operations_mut(item).map(|(_, operation)| &*operation));
    api.tags = Some(operations::tags(all));
    // The paths are relative to the host that served this document.
    api.servers = Some(vec![Server::new("/")]);
    api.components = Some(components);
    api
}

/// Adds the schemes by which callers can authenticate, and returns their names.
fn add_security_schemes(auth: &auth::Config, components: &mut Components) -> Vec<&'static str> {
    let mut names = Vec::new();
    if auth.jwks.is_some() {
        names.push("bearer");
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT");
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    }
    if !auth.api_keys.is_empty() {
        names.push("apiKey");
        let key = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        components.add_security_scheme("apiKey", SecurityScheme::ApiKey(key));
    }
    names
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
