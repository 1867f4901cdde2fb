//! The GraphQL endpoint: executes one operation with the [`RequestContext`] and reports the state of every section.
//!
//! 1. Before execution, apollo-compiler parses and validates the document, and coerces the variables. The endpoint checks
//!    the document's cost and collects its fields.
//! 2. async-graphql executes the collected fields. A resolver calls [`selection`] for the
//!    [`FieldSelection`](crate::section::FieldSelection), builds a screen with it, and passes the screen to
//!    [`resolve_screen`].
//! 3. After execution, the endpoint completes the data. Every error gets its public text and code. `extensions.sections`
//!    and the `Sections` header list the states of the sections.

use std::sync::Arc;

use apollo_compiler::executable::Operation;
use apollo_compiler::response::JsonMap;
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Node};
use async_graphql::{
    ObjectType, Request, SDLExportOptions, Schema, SchemaBuilder, SubscriptionType, ValidationMode,
};
use axum::Extension;
use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::response::Response;
use axum::routing::post;
use http::{HeaderValue, Method};
use utoipa::OpenApi;

use crate::action::Completion;
use crate::config::Mode;
use crate::context::RequestContext;
use crate::error::Error;
use crate::inbound::endpoints::ExtraRoutes;
use crate::inbound::load_shed::AdmissionTicket;
use crate::inbound::{EndpointOptions, WriteDetection};

pub use crate::graphql_config::Config;
use collect::Collector;
use executable::ArgumentValues;
use request::MediaType;
pub use resolve::{resolve, resolve_screen, selection, validate_args};
use response::ExecutionResult;
use section_states::SectionStates;

mod collect;
mod complete;
mod document;
mod executable;
mod graphiql;
mod limits;
mod openapi;
mod position;
mod request;
mod resolve;
mod response;
mod section_states;
#[cfg(test)]
mod tests;

/// `POST /graphql`, and in development `GET /graphiql`. Resolvers get the [`RequestContext`]; add all other data to the
/// schema builder.
///
/// # Errors
/// If the schema is not valid GraphQL.
pub fn routes<Q, M, S>(
    schema: SchemaBuilder<Q, M, S>,
    config: &Config,
    mode: Mode,
) -> Result<ExtraRoutes, String>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    let endpoint = Arc::new(Endpoint::open(schema, config, mode)?);
    let described = endpoint.clone();
    let execute = move |cx: RequestContext,
                        Extension(completion): Extension<Completion>,
                        request: HttpRequest| {
        let endpoint = endpoint.clone();
        async move { endpoint.serve(cx, &completion, request).await }
    };
    // GET is not allowed, even for queries: logs and caches would store the document with the URL.
    let method_not_allowed = async |method: Method| {
        Error::method_not_allowed(&method, Some(HeaderValue::from_static("POST")))
    };
    let mut router = Router::new().route("/graphql", post(execute).fallback(method_not_allowed));
    if !mode.is_production() {
        router = router.merge(graphiql::routes());
    }
    Ok(ExtraRoutes {
        router,
        api: openapi::GraphQlApi::openapi(),
        sdl: Some(Arc::new(move || described.sdl())),
        options: EndpointOptions {
            timeout: None,
            max_body_bytes: Some(config.max_body_bytes),
            write_detection: if M::is_empty() {
                WriteDetection::ReadOnly
            } else {
                WriteDetection::ByBody
            },
            ..EndpointOptions::SCREEN
        },
    })
}

/// A schema and its limits.
struct Endpoint<Q, M, S> {
    /// Resolves the fields.
    schema: Schema<Q, M, S>,
    /// The types of the same schema, to validate documents and to coerce variables.
    types: Valid<apollo_compiler::Schema>,
    config: Config,
    mode: Mode,
}

impl<Q, M, S> Endpoint<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    fn open(schema: SchemaBuilder<Q, M, S>, config: &Config, mode: Mode) -> Result<Self, String> {
        // The document is valid: apollo-compiler has validated it.
        let schema = schema.validation_mode(ValidationMode::Fast);
        let (depth, complexity) = (config.max_depth, config.max_complexity);
        let schema = if mode.is_production() {
            (schema.disable_introspection())
                .limit_depth(depth)
                .limit_complexity(complexity)
        } else {
            schema.extension(limits::LimitsWithIntrospection { depth, complexity })
        };
        let schema = schema.finish();
        let types = apollo_compiler::Schema::parse_and_validate(schema.sdl(), "schema.graphql");
        Ok(Self {
            types: types.map_err(|e| format!("The GraphQL schema is invalid: {}", e.errors))?,
            schema,
            config: config.clone(),
            mode,
        })
    }

    /// The schema in SDL, with the same order on every run.
    fn sdl(&self) -> String {
        let sorted = SDLExportOptions::new()
            .sorted_fields()
            .sorted_arguments()
            .sorted_enum_items()
            .use_space_ident();
        self.schema.sdl_with_options(sorted)
    }

    async fn serve(
        &self,
        cx: RequestContext,
        completion: &Completion,
        request: HttpRequest,
    ) -> Result<Response, Error> {
        let media_type = MediaType::accepted(request.headers())?;
        let ticket = request.extensions().get::<AdmissionTicket>().cloned();
        let envelope = request::read(request).await?;
        let introspection = !self.mode.is_production();
        let parsed = document::parse(&envelope.query, &self.types, &self.config, introspection);
        let result = match parsed {
            Ok(document) => {
                let name = envelope.operation.as_deref();
                let operation = document.operations.get(name);
                if let Some(ticket) = ticket
                    && !operation.as_ref().is_ok_and(|op| op.is_mutation())
                {
                    ticket.recheck_as_read()?;
                }
                match operation {
                    Ok(operation) => {
                        let variables = &envelope.variables;
                        self.execute((&cx, completion), &document, operation, variables)
                            .await?
                    }
                    Err(error) => ExecutionResult::not_executed(vec![document::request_error(
                        &error,
                        &document.sources,
                    )]),
                }
            }
            Err(errors) => ExecutionResult::not_executed(errors),
        };
        result.into_response(&cx, media_type)
    }

    async fn execute(
        &self,
        (cx, completion): (&RequestContext, &Completion),
        document: &ExecutableDocument,
        operation: &Node<Operation>,
        variables: &JsonMap,
    ) -> Result<ExecutionResult, Error> {
        let variables = document::coerce_variables(document, operation, &self.types, variables);
        let variables = match variables {
            Ok(variables) => variables,
            Err(error) => return Ok(ExecutionResult::not_executed(vec![error])),
        };
        let root = operation.object_type();
        let collected = Collector::new(&self.types, document, &variables)
            .collect(root, [&operation.selection_set]);
        let fields = match collected {
            Ok(fields) => fields,
            Err(error) => return Ok(ExecutionResult::not_executed(vec![error])),
        };
        let values = ArgumentValues {
            variables: &variables,
            sources: &document.sources,
        };
        let executable = executable::document(operation, &fields, &values);
        let states = Arc::new(SectionStates::default());
        let mut request = Request::new("").data(cx.clone()).data(states.clone());
        request.set_parsed_query(executable);
        if operation.is_introspection(document) {
            request = request.data(limits::IntrospectionQuery);
        }
        let response = if operation.is_mutation() {
            // A write completes even if the client disconnects.
            let schema = self.schema.clone();
            let work = async move { Ok(schema.execute(request).await) };
            completion.run(cx, work).await?
        } else {
            self.schema.execute(request).await
        };
        Ok(ExecutionResult::new(
            response,
            &fields,
            &document.sources,
            &states,
        ))
    }
}
