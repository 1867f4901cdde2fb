//! The OpenAPI description of the GraphQL endpoint. It describes the request and response bodies; the GraphQL schema
//! has its own file.

use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use crate::error::Problem;
use crate::openapi::operations::GRAPHQL;

/// The endpoint's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(execute_graphql))]
pub(super) struct GraphQlApi;

/// A GraphQL request. Other members are ignored.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "only the schema is used: `request::Envelope` is parsed"
)]
struct GraphQlRequest {
    /// The document. Its length, depth and cost are limited.
    #[schema(example = "{ __typename }")]
    query: String,
    /// The name of the operation to execute. Required if the document has several.
    operation_name: Option<String>,
    /// The values of the variables.
    #[schema(value_type = Option<Object>)]
    variables: Option<Value>,
    /// Ignored.
    #[schema(value_type = Option<Object>)]
    extensions: Option<Value>,
}

/// A GraphQL response.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "only the schema is used: `response::Document` is serialized"
)]
struct GraphQlResponse {
    /// The selected fields; absent if the document was not executed.
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
    /// The errors. Each has `message`, and `code` and `requestId` in its `extensions`. The error of a field also has its
    /// `path`.
    #[schema(value_type = Option<Vec<Object>>)]
    errors: Option<Value>,
    /// `sections` has the state of every section, by response path.
    #[schema(value_type = Option<Object>)]
    extensions: Option<Value>,
}

/// The screens over GraphQL
///
/// The schema is in `schema.graphql`. A failed screen is a null field with an error; the other fields are returned.
#[utoipa::path(post, path = "/graphql", operation_id = "execute_graphql", tag = GRAPHQL,
    request_body(content = GraphQlRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "The operation was executed. A client that accepts only `application/json` gets \
                                      200 also for an invalid document.",
         content((GraphQlResponse = "application/graphql-response+json"), (GraphQlResponse = "application/json"))),
        (status = 400, description = "The document is invalid and was not executed, or the request is invalid (a \
                                      problem document).",
         content((GraphQlResponse = "application/graphql-response+json"), (Problem = "application/problem+json")))))]
#[expect(dead_code, reason = "only the attribute above is used")]
fn execute_graphql() {}
