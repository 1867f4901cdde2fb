//! How the REST contract describes this door: by its envelope, for what can be asked is in the schema's own file.

use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

/// The door's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(execute_graphql))]
pub(super) struct Contract;

/// One operation to execute.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used: it is read by hand")]
struct GraphQlRequest {
    /// The document.
    #[schema(example = "{ __typename }")]
    query: String,
    /// Which of the document's operations, where it has several.
    operation_name: Option<String>,
    /// The values of its variables.
    #[schema(value_type = Option<Object>)]
    variables: Option<Value>,
    /// Read and ignored.
    #[schema(value_type = Option<Object>)]
    extensions: Option<Value>,
}

/// What an operation gave.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: it is written by hand")]
struct GraphQlAnswer {
    /// The fields that were selected; absent when the document was not executed.
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
    /// What failed, each with its `path` and with `code` and `requestId` in its `extensions`.
    #[schema(value_type = Option<Vec<Object>>)]
    errors: Option<Value>,
    /// Under `sections` the state of every section by its response path.
    #[schema(value_type = Option<Object>)]
    extensions: Option<Value>,
}

/// The screens over GraphQL
///
/// What may be selected is in `schema.graphql`. A failed screen is a null field with an error beside it, and its
/// siblings stand.
#[utoipa::path(post, path = "/graphql", operation_id = "execute_graphql",
    request_body(content = GraphQlRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "The operation was executed. To a client that accepts `application/json` only, \
                                      this also tells a document that was refused.",
         content((GraphQlAnswer = "application/graphql-response+json"), (GraphQlAnswer = "application/json"))),
        (status = 400, description = "The document was refused and nothing executed; or a problem.",
         content((GraphQlAnswer = "application/graphql-response+json")))))]
#[expect(dead_code, reason = "the attribute above is what is used")]
fn execute_graphql() {}
