//! The OpenAPI description of proxy routes: the paths, methods and bodies that the gateway forwards. The backend
//! describes its own responses.

use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    Content, ContentBuilder, ObjectBuilder, PathItem, Ref, Required, ResponseBuilder, Type,
};

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
        .summary(Some(format!("Forwarded unchanged to {}", route.upstream)))
        .description(Some(description(route)))
        .parameter(rest)
        .response(
            "2XX",
            ResponseBuilder::new().description("The backend's response."),
        )
        .response("4XX", problem())
        .response("5XX", problem());
    if matches!(
        method,
        HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch
    ) {
        operation = operation.request_body(Some(body(route)));
    }
    if !route.allow_anonymous {
        let any: [&str; 0] = [];
        for scheme in security {
            operation = operation.security(SecurityRequirement::new(*scheme, any));
        }
    }
    operation.build()
}

fn description(route: &Config) -> String {
    let access = match &route.roles[..] {
        _ if route.allow_anonymous => "No sign-in is required.".to_owned(),
        [] => "Requires a signed-in caller.".to_owned(),
        roles => format!("Requires one of the roles {}.", roles.join(", ")),
    };
    let format = if route.v1_format {
        " With `X-API-Version: v1`, members and query parameters are in snake_case."
    } else {
        ""
    };
    format!("{access} A more specific path in this document takes precedence.{format}")
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
fn problem() -> ResponseBuilder {
    let schema = Some(Ref::from_schema_name("Problem"));
    ResponseBuilder::new()
        .description("The backend's response, or a problem document of the gateway (RFC 9457).")
        .content(
            "application/problem+json",
            ContentBuilder::new().schema(schema).build(),
        )
}
