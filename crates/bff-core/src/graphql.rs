//! The GraphQL endpoint: executes one operation with the [`RequestContext`] and reports the state of every section.
//!
//! 1. Before execution, the endpoint parses the document once and checks its cost.
//! 2. A resolver calls [`selection`] for the [`FieldSelection`](crate::section::FieldSelection), builds a screen with
//!    it, and passes the screen to [`resolve_screen`].
//! 3. After execution, every error gets its public text and code. `extensions.sections` and the `Sections` header list
//!    the states of the sections.

use std::sync::Arc;

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType};
use async_graphql::{
    ObjectType, Request, SDLExportOptions, Schema, SchemaBuilder, ServerError, SubscriptionType,
    parser,
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
use request::{Envelope, MediaType};
pub use resolve::{resolve, resolve_screen, selection, validate_args};
use response::ExecutionResult;
use section_states::SectionStates;

mod graphiql;
mod limits;
mod openapi;
mod request;
mod resolve;
mod response;
mod section_states;
#[cfg(test)]
mod tests;

/// `POST /graphql`, and in development `GET /graphiql`. Resolvers get the [`RequestContext`]; add all other data to the
/// schema builder.
pub fn routes<Q, M, S>(schema: SchemaBuilder<Q, M, S>, config: &Config, mode: Mode) -> ExtraRoutes
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    let endpoint = Arc::new(Endpoint::new(schema, config, mode));
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
    ExtraRoutes {
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
    }
}

/// A schema and its limits.
struct Endpoint<Q, M, S> {
    schema: Schema<Q, M, S>,
    config: Config,
    mode: Mode,
}

impl<Q, M, S> Endpoint<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    fn new(schema: SchemaBuilder<Q, M, S>, config: &Config, mode: Mode) -> Self {
        let schema = schema.limit_directives(config.max_directives);
        let (depth, complexity) = (config.max_depth, config.max_complexity);
        let schema = if mode.is_production() {
            // Suggestions in errors would reveal names of the schema.
            (schema.disable_introspection().disable_suggestions())
                .limit_depth(depth)
                .limit_complexity(complexity)
        } else {
            schema.extension(limits::LimitsWithIntrospection { depth, complexity })
        };
        Self {
            schema: schema.finish(),
            config: config.clone(),
            mode,
        }
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
        let result = match self.parse(&envelope) {
            Ok(document) => {
                let operation = selected_operation(&document, envelope.operation.as_deref());
                if let Some(ticket) = ticket
                    && !operation.is_some_and(is_write)
                {
                    ticket.recheck_as_read()?;
                }
                self.execute((&cx, completion), envelope, document).await?
            }
            Err(error) => ExecutionResult::not_executed(error),
        };
        result.into_response(&cx, media_type)
    }

    /// Parses the document and checks the limits that do not need the schema.
    fn parse(&self, envelope: &Envelope) -> Result<ExecutableDocument, ServerError> {
        limits::check_text(&envelope.query, &self.config)?;
        let document = parser::parse_query(&envelope.query)?;
        limits::check(&document, &self.config, !self.mode.is_production())?;
        if let Some(operation) = selected_operation(&document, envelope.operation.as_deref()) {
            request::check_variables(operation, &envelope.variables)?;
        }
        Ok(document)
    }

    async fn execute(
        &self,
        (cx, completion): (&RequestContext, &Completion),
        envelope: Envelope,
        document: ExecutableDocument,
    ) -> Result<ExecutionResult, Error> {
        let states = Arc::new(SectionStates::default());
        let mut request = Request::new(envelope.query)
            .variables(envelope.variables)
            .data(cx.clone())
            .data(states.clone());
        let mut write = false;
        if let Some(operation) = selected_operation(&document, envelope.operation.as_deref()) {
            write = is_write(operation);
            // async-graphql ignores the default value of a variable in `@include(if: $v)`.
            for variable in &operation.variable_definitions {
                if let Some(default) = &variable.node.default_value {
                    let name = variable.node.name.node.clone();
                    let value = request.variables.entry(name);
                    value.or_insert_with(|| default.node.clone());
                }
            }
            if limits::is_introspection(&operation.selection_set) {
                request = request.data(limits::IntrospectionQuery);
            }
        }
        request.operation_name = envelope.operation;
        request.set_parsed_query(document);
        let response = if write {
            // A write completes even if the client disconnects.
            let schema = self.schema.clone();
            let work = async move { Ok(schema.execute(request).await) };
            completion.run(cx, work).await?
        } else {
            self.schema.execute(request).await
        };
        Ok(ExecutionResult::new(response, &states))
    }
}

fn is_write(operation: &OperationDefinition) -> bool {
    operation.ty == OperationType::Mutation
}

/// The operation to execute; `None` if the name is unknown, or missing while there are several operations.
fn selected_operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    let mut operations = document.operations.iter();
    let selected = match name {
        Some(name) => operations.find(|(other, _)| other.is_some_and(|other| other == name)),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    selected.map(|(_, operation)| &operation.node)
}
