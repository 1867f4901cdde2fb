//! The parts of an operation that its author need not write: tag, optional sign-in, and response descriptions.

use utoipa::openapi::path::{HttpMethod, Operation};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::tag::{Tag, TagBuilder};
use utoipa::openapi::{
    Components, ContentBuilder, PathItem, Ref, RefOr, Response, ResponseBuilder,
};

/// The tag of a screen.
const SCREENS: &str = "Screens";
/// The tag of a write.
const ACTIONS: &str = "Actions";
/// The tag of the GraphQL endpoint.
pub(crate) const GRAPHQL: &str = "GraphQL";
/// The tag of a proxy route.
pub(super) const PROXY_ROUTES: &str = "Proxy routes";

/// Each tag with its description, in the order of the reference page.
const TAGS: [(&str, &str); 4] = [
    (
        SCREENS,
        "Whole screens. Each is assembled from several backends in one request.",
    ),
    (ACTIONS, "Writes of one or more steps."),
    (GRAPHQL, "The screens over GraphQL."),
    (
        PROXY_ROUTES,
        "Requests that the gateway forwards to one backend.",
    ),
];

/// The operations of a path.
pub(super) fn operations_mut(
    item: &mut PathItem,
) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Head, &mut item.head),
        (HttpMethod::Options, &mut item.options),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Patch, &mut item.patch),
        (HttpMethod::Delete, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// The tags that operations use.
pub(super) fn tags<'a>(operations: impl Iterator<Item = &'a Operation>) -> Vec<Tag> {
    let used: Vec<&String> = operations.flat_map(|o| o.tags.iter().flatten()).collect();
    let used = TAGS
        .into_iter()
        .filter(|(name, _)| used.iter().any(|tag| tag == name));
    let tag = |(name, text)| {
        let tag = TagBuilder::new().name(name).description(Some(text));
        tag.build()
    };
    used.map(tag).collect()
}

/// Completes the operation of an endpoint.
pub(super) fn complete(
    operation: &mut Operation,
    is_read: bool,
    security: &[&str],
    components: &Components,
) {
    let tag = if is_read { SCREENS } else { ACTIONS };
    operation.tags.get_or_insert_with(|| vec![tag.to_owned()]);
    if operation.security.is_none() {
        operation.security = optional_security(security);
    }
    let mut has_etag = false;
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let described = describe(response, components);
            has_etag |= described && is_read;
        }
    }
    if has_etag {
        let text = "The copy with the `ETag` in `If-None-Match` is still valid.";
        let response = ResponseBuilder::new().description(text).build();
        (operation.responses.responses).insert("304".into(), RefOr::T(response));
    }
}

/// A sign-in that is possible, but not required.
pub(super) fn optional_security(schemes: &[&str]) -> Option<Vec<SecurityRequirement>> {
    let no_scopes: [&str; 0] = [];
    let schemes = schemes
        .iter()
        .map(|scheme| SecurityRequirement::new(*scheme, no_scopes));
    let any: Vec<_> = std::iter::once(SecurityRequirement::default())
        .chain(schemes)
        .collect();
    (any.len() > 1).then_some(any)
}

/// A response with a problem document.
pub(super) fn problem_document(description: impl Into<String>) -> Response {
    let schema = Some(Ref::from_schema_name("Problem"));
    ResponseBuilder::new()
        .description(description)
        .content(
            "application/problem+json",
            ContentBuilder::new().schema(schema).build(),
        )
        .build()
}

/// Describes a response by the schema of its body, if its author gave no description. Returns whether it did.
fn describe(response: &mut Response, components: &Components) -> bool {
    if !response.description.is_empty() {
        return false;
    }
    let mut bodies = response.content.values();
    let schema = bodies.find_map(|content| match content {
        RefOr::T(content) => content.schema.as_ref(),
        RefOr::Ref(_) => None,
    });
    let description = schema.and_then(|schema| description(schema, components));
    response.description = description.unwrap_or_else(|| "Success.".to_owned());
    true
}

fn description(schema: &RefOr<Schema>, components: &Components) -> Option<String> {
    match schema {
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next()?;
            description(components.schemas.get(name)?, components)
        }
        RefOr::T(Schema::Object(object)) => object.description.clone(),
        RefOr::T(Schema::Array(array)) => array.description.clone(),
        RefOr::T(Schema::AnyOf(of)) => of.description.clone(),
        RefOr::T(Schema::AllOf(of)) => of.description.clone(),
        RefOr::T(_) => None,
    }
}
