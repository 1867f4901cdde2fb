//! The routes that are passed on, as the contract tells them: which addresses, methods and bodies get through. What comes
//! back is the backend's own, and its to describe.

use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    Content, ContentBuilder, ObjectBuilder, PathItem, Ref, Required, ResponseBuilder, Type,
};

use crate::routes::{Config, Configs};

/// Every prefix with what lies below it, by address.
pub(super) fn paths(routes: &Configs, security: &[&str]) -> Vec<(String, PathItem)> {
    let all = routes.values().flat_map(|route| {
        let described =
            move |prefix: &String| (format!("{prefix}/{{path}}"), item(prefix, route, security));
        route.prefixes.iter().map(described)
    });
    all.collect()
}

fn item(prefix: &str, route: &Config, security: &[&str]) -> PathItem {
    let mut item = PathItem::default();
    for name in &route.methods {
        let (method, place) = match name.as_str() {
            "GET" => (HttpMethod::Get, &mut item.get),
            "HEAD" => (HttpMethod::Head, &mut item.head),
            "POST" => (HttpMethod::Post, &mut item.post),
            "PUT" => (HttpMethod::Put, &mut item.put),
            "PATCH" => (HttpMethod::Patch, &mut item.patch),
            "DELETE" => (HttpMethod::Delete, &mut item.delete),
            "OPTIONS" => (HttpMethod::Options, &mut item.options),
            _ => continue,
        };
        *place = Some(operation(prefix, name, &method, route, security));
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
            "What follows, slashes included; it may be missing, and so may the slash before it",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
    let mut operation = OperationBuilder::new()
        .operation_id(Some(format!("pass_{}_{noun}", name.to_ascii_lowercase())))
        .summary(Some(format!("Passed on to {} as it is", route.upstream)))
        .description(Some(described(route)))
        .parameter(rest)
        .response(
            "2XX",
            ResponseBuilder::new().description("What the backend answers."),
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

fn described(route: &Config) -> String {
    let who = match &route.roles[..] {
        _ if route.allow_anonymous => "For everybody.".to_owned(),
        [] => "For whoever is signed in.".to_owned(),
        roles => format!("For whoever has one of the roles {}.", roles.join(", ")),
    };
    let format = if route.v1_format {
        " With `X-API-Version: v1` members and query parameters are in snake_case."
    } else {
        ""
    };
    format!("{who} A more exact address of this document is answered as it says there.{format}")
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

/// What does not get through, or fails before the backend says anything, is told by the gateway.
fn problem() -> ResponseBuilder {
    let schema = Some(Ref::from_schema_name("Problem"));
    ResponseBuilder::new()
        .description("What the backend answers, or a problem of the gateway's own (RFC 9457).")
        .content(
            "application/problem+json",
            ContentBuilder::new().schema(schema).build(),
        )
}
