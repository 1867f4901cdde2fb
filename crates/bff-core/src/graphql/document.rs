//! Parses and validates a document, and coerces the variables of a request.

use apollo_compiler::ast;
use apollo_compiler::executable::Operation;
use apollo_compiler::parser::{Parser, SourceMap};
use apollo_compiler::request::{RequestError, coerce_variable_values};
use apollo_compiler::response::{GraphQLError, JsonMap};
use apollo_compiler::validation::{DiagnosticList, Valid};
use apollo_compiler::{ExecutableDocument, Schema};
use async_graphql::ServerError;

use super::limits::{self, MAX_NESTING_DEPTH};
use super::position::from_line_column;
use crate::graphql_config::Config;

/// Maximum nesting of the grammar's rules. A field and its selections are two levels.
const MAX_GRAMMAR_DEPTH: usize = 4 * MAX_NESTING_DEPTH;

/// The most errors reported for an invalid document. A short document can have thousands.
const MAX_ERRORS: usize = 20;

/// Parses a document, checks the limits that need no schema, and validates the document.
pub(super) fn parse(
    text: &str,
    schema: &Valid<Schema>,
    config: &Config,
    introspection: bool,
) -> Result<Valid<ExecutableDocument>, Vec<ServerError>> {
    limits::check_text(text, config).map_err(|error| vec![error])?;
    let mut parser = Parser::new().recursion_limit(MAX_GRAMMAR_DEPTH);
    let document = parser.parse_ast(text, "query");
    let document: ast::Document = document.map_err(|e| diagnostics(&e.errors))?;
    limits::check(&document, config, introspection).map_err(|error| vec![error])?;
    let valid = document.to_executable_validate(schema);
    valid.map_err(|e| diagnostics(&e.errors))
}

/// The values of an operation's variables (GraphQL §6.1.2, `CoerceVariableValues`).
pub(super) fn coerce_variables(
    document: &ExecutableDocument,
    operation: &Operation,
    schema: &Valid<Schema>,
    values: &JsonMap,
) -> Result<Valid<JsonMap>, ServerError> {
    let coerced = coerce_variable_values(schema, operation, values);
    coerced.map_err(|error| request_error(&error, &document.sources))
}

/// The error for a request that is not executed.
pub(super) fn request_error(error: &RequestError, sources: &SourceMap) -> ServerError {
    server_error(error.to_graphql_error(sources))
}

fn diagnostics(list: &DiagnosticList) -> Vec<ServerError> {
    let mut errors: Vec<ServerError> = Vec::new();
    for diagnostic in list.iter() {
        if errors.len() == MAX_ERRORS {
            break;
        }
        let error = server_error(diagnostic.to_json());
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
    errors
}

fn server_error(error: GraphQLError) -> ServerError {
    ServerError {
        locations: error.locations.into_iter().map(from_line_column).collect(),
        ..ServerError::new(error.message, None)
    }
}
