//! The GraphQL door: one document in, one operation executed with [`RequestContext`], the truth about every section out.
//!
//! Before anything is executed the document is parsed once and its cost is counted; a resolver turns what the
//! document selects into a [`Want`](crate::section::Want) with [`enter`], assembles a screen with it and hands that
//! to [`answer`]; after execution every error gets its text and code for outside, and the sections' states go to
//! `extensions.sections` and the `Sections` header.

use std::sync::Arc;

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType};
use async_graphql::{
    ObjectType, Request, SDLExportOptions, Schema, SchemaBuilder, ServerError, SubscriptionType,
    parser,
};
use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::response::Response;
use axum::routing::post;
use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};
use utoipa::OpenApi;

use crate::config::Mode;
use crate::context::RequestContext;
use crate::error::Error;
use crate::inbound::endpoints::ExtraRoutes;
use crate::inbound::load_shed::AdmissionTicket;
use crate::inbound::{EndpointOptions, WriteDetection};

use request::{Envelope, Media};
pub use resolve::{resolve, resolve_screen, selection, validate_args};
use response::Reply;
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

/// What a GraphQL request may cost.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How deep fields may nest. Default 10: a screen is 4 to 7 deep, and what is deeper walks in circles.
    pub max_depth: usize,
    /// How much a document may select, one a field unless the schema says otherwise. Default 300: the largest
    /// screen, whole, is about 100.
    pub max_complexity: usize,
    /// How many aliases and repeated fields a document may have. Default 30: each one makes the gateway do the
    /// same work again.
    pub max_aliases: usize,
    /// How many operations a document may define; one of them is executed. Default 5: tools keep a few together.
    pub max_operations: usize,
    /// How many directives one field, fragment or operation may carry. Default 20: real ones carry two.
    pub max_directives: usize,
    /// The longest document, in bytes. Default 16384 (16 KiB): a document that selects every screen is 6 KiB.
    pub max_document_bytes: usize,
    /// The largest body: the document and its variables, in bytes. Default 65536 (64 KiB).
    pub max_body_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_depth: 10,
            max_complexity: 300,
            max_aliases: 30,
            max_operations: 5,
            max_directives: 20,
            max_document_bytes: 16 << 10,
            max_body_bytes: 64 << 10,
        }
    }
}

/// `POST /graphql`; in development also `GET /graphiql`. What resolvers need beyond [`RequestContext`] is the schema's own
/// data, put into the builder.
pub fn routes<Q, M, S>(schema: SchemaBuilder<Q, M, S>, config: &Config, mode: Mode) -> ExtraRoutes
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    let endpoint = Arc::new(Endpoint::new(schema, config, mode));
    let execute = move |cx: RequestContext, request: HttpRequest| {
        let endpoint = endpoint.clone();
        async move { endpoint.serve(cx, request).await }
    };
    // Not even a query comes by GET: a document in an address ends up in logs and caches.
    let other = async |method: Method| {
        Error::method_not_allowed(&method, Some(HeaderValue::from_static("POST")))
    };
    let mut router = Router::new().route("/graphql", post(execute).fallback(other));
    if !mode.is_production() {
        router = router.merge(graphiql::routes());
    }
    ExtraRoutes {
        router,
        api: openapi::Contract::openapi(),
        door: EndpointOptions {
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

/// The schema as text: the contract, the same on every run.
pub fn sdl<Q, M, S>(schema: SchemaBuilder<Q, M, S>) -> String
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    let sorted = SDLExportOptions::new()
        .sorted_fields()
        .sorted_arguments()
        .sorted_enum_items()
        .use_space_ident();
    schema.finish().sdl_with_options(sorted)
}

/// A schema under its limits.
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
            // A suggestion is introspection by guessing.
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

    async fn serve(&self, cx: RequestContext, request: HttpRequest) -> Result<Response, Error> {
        let media = Media::accepted(request.headers())?;
        let standing = request.extensions().get::<AdmissionTicket>().cloned();
        let envelope = request::read(request).await?;
        let reply = match self.parse(&envelope) {
            Ok(document) => {
                let operation = selected_operation(&document, envelope.operation.as_deref());
                if let Some(standing) = standing
                    && !operation.is_some_and(is_write)
                {
                    standing.recheck_as_read()?;
                }
                self.execute(&cx, envelope, document).await?
            }
            Err(error) => Reply::refused(error),
        };
        reply.into_response(&cx, media)
    }

    /// The document, parsed once, under the limits that can be counted without the schema.
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
        cx: &RequestContext,
        envelope: Envelope,
        document: ExecutableDocument,
    ) -> Result<Reply, Error> {
        let told = Arc::new(SectionStates::default());
        let mut request = Request::new(envelope.query)
            .variables(envelope.variables)
            .data(cx.clone())
            .data(told.clone());
        let mut write = false;
        if let Some(operation) = selected_operation(&document, envelope.operation.as_deref()) {
            write = is_write(operation);
            // The library reads `@include(if: $v)` without the variable's default.
            for variable in &operation.variable_definitions {
                if let Some(default) = &variable.node.default_value {
                    let name = variable.node.name.node.clone();
                    let set = request.variables.entry(name);
                    set.or_insert_with(|| default.node.clone());
                }
            }
            if limits::is_introspection(&operation.selection_set) {
                request = request.data(limits::IntrospectionQuery);
            }
        }
        request.operation_name = envelope.operation;
        request.set_parsed_query(document);
        let response = if write {
            // A write runs to its end even when the client hangs up.
            let schema = self.schema.clone();
            cx.to_completion(async move { Ok(schema.execute(request).await) })
                .await?
        } else {
            self.schema.execute(request).await
        };
        Ok(Reply::new(response, told.sections()))
    }
}

fn is_write(operation: &OperationDefinition) -> bool {
    operation.ty == OperationType::Mutation
}

/// The operation that will be executed, if the request says clearly which.
fn selected_operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    let mut operations = document.operations.iter();
    let found = match name {
        Some(name) => operations.find(|(of, _)| of.is_some_and(|of| of == name)),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    found.map(|(_, operation)| &operation.node)
}
