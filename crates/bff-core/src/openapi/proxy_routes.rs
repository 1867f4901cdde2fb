//! The OpenAPI description of proxy routes: the paths, methods and bodies that the gateway forwards. The backend
//! describes its own responses.

use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::{
    Content, ObjectBuilder, PathItem, RefOr, Required, Response, ResponseBuilder, Type,
};

use super::operations::{PROXY_ROUTES, optional_security, problem_document};
use crate::routes::{Config, Configs};

/// The path and the path item of every prefix.
pub(super) fn paths(routes: &Configs, security: &[&str]) -> Vec<(String, PathItem)> {
    let items = routes.values().flat_map(|route| {
        let describe = move |prefix: &String| {
            let path = format!("{prefix}/{{path}}");
            (path, path_item(prefix, route, security))
        };
        route.prefixes.iter().map(describe)
    });
    items.collect()
}

fn path_item(prefix: &str, route: &Config, security: &[&str]) -> PathItem {
    let mut item = PathItem::default();
    for name in &route.methods {
        let (method, slot) = match name.as_str() {
            "GET" => (HttpMethod::Get, &mut item.get),
            "HEAD" => (HttpMethod::Head, &mut item.head),
            "POST" => (HttpMethod::Post, &mut item.post),
            "PUT" => (HttpMethod::Put, &mut item.put),
            "PATCH" => (HttpMethod::Patch, &mut item.patch),
            "DELETE" => (HttpMethod::Delete, &mut item.delete),
            "OPTIONS" => (HttpMethod::Options, &mut item.options),
            _ => continue,
        };
        *slot = Some(operation(prefix, name, &method, route, security));
    }
    item
}

fn operation(
    prefix: &str,
    name: &str,
    method: &HttpMethod,
    route: &Config,
    security: &[&str],
) -> Operation {
    let noun = prefix
        .trim_start_matches('/')
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let rest = ParameterBuilder::new()
        .name("path")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(
            "The rest of the path, with its slashes. It can be empty, also without the slash before it.",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
    let mut operation = OperationBuilder::new()
        .operation_id(Some(format!("pass_{}_{noun}", name.to_ascii_lowercase())))
        .tag(PROXY_ROUTES)
        .summary(Some(summary(method, route)))
        .description(Some(description(prefix, method, route)))
        .parameter(rest)
        .response(
            "2XX",
            ResponseBuilder::new()
                .description(format!("The response of {}.", route.upstream))
                .content("*/*", Content::default()),
        )
        .response("4XX", problem(&route.upstream))
        .response("5XX", problem(&route.upstream));
    if matches!(
        method,
        HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch
    ) {
        operation = operation.request_body(Some(body(route)));
    }
    let securities = optional_security(security).into_iter().flatten();
    // The first one is no sign-in.
    let skipped = usize::from(!route.allow_anonymous);
    for requirement in securities.skip(skipped) {
        operation = operation.security(requirement);
    }
    operation.build()
}

fn summary(method: &HttpMethod, route: &Config) -> String {
    let verb = match method {
        HttpMethod::Get | HttpMethod::Head | HttpMethod::Options => "Read from",
        HttpMethod::Delete => "Delete from",
        _ => "Write to",
    };
    format!("{verb} {}", route.upstream)
}

/// The purpose of the route, then its rules.
fn description(prefix: &str, method: &HttpMethod, route: &Config) -> String {
    let purpose = route.description.as_deref().unwrap_or_default();
    let access = match &route.roles[..] {
        _ if route.allow_anonymous => "No sign-in is required.".to_owned(),
        [] => "Requires a signed-in caller.".to_owned(),
        roles => format!("Requires one of the roles {}.", roles.join(", ")),
    };
    let forwarded = format!(
        "The gateway forwards every path below `{prefix}` to {}, whose response is returned. {access}",
        route.upstream
    );
    let cached = match (method, route.cache) {
        (HttpMethod::Get, true) => {
            "Responses come from the gateway's cache while they are fresh (RFC 9111)."
        }
        (HttpMethod::Get, false) => "Responses are not cached.",
        _ => "",
    };
    let format = if route.v1_format {
        "With `X-API-Version: v1`, members and query parameters are in snake_case."
    } else {
        ""
    };
    let precedence = "A more specific path in this document takes precedence.";
    let sentences = [purpose, &forwarded, cached, format, precedence];
    let sentences = sentences.into_iter().filter(|text| !text.is_empty());
    sentences.collect::<Vec<_>>().join(" ")
}

fn body(route: &Config) -> RequestBody {
    let any = ["*/*".to_owned()];
    let types = if route.content_types.is_empty() {
        &any[..]
    } else {
        &route.content_types
    };
    let body = types.iter().fold(RequestBodyBuilder::new(), |body, media| {
        body.content(media, Content::default())
    });
    body.build()
}

/// The response for an error: the backend's own, or a problem document if the gateway rejects or fails the request.
fn problem(upstream: &str) -> Response {
    let text =
        format!("The response of {upstream}, or a problem document of the gateway (RFC 9457).");
    let mut response = problem_document(text);
    (response.content).insert("*/*".into(), RefOr::T(Content::default()));
    response
}
