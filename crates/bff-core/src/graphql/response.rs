//! Converts an execution result to an HTTP response: public error texts and codes, and the states of the sections.

use std::sync::Arc;

use apollo_compiler::parser::SourceMap;
use async_graphql::{Response as GraphQlResponse, ServerError, Value};
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::collect::{CollectedField, field_at};
use super::complete::complete_data;
use super::position::position;
use super::request::MediaType;
use super::section_states::{SectionStates, Sections};
use crate::cache::status;
use crate::context::RequestContext;
use crate::error::{Error, codes};
use crate::outbound::Failure;
use crate::section::ReportedSections;
use crate::section::screen::SECTIONS;

/// The source of an error for a missing section. `extensions.sections` reports it too, so the request has not failed.
pub(super) struct MissingSection(pub(super) Error);

/// The result of an operation, or the errors of a document that was not executed.
pub(super) struct ExecutionResult {
    /// `None` if the document was not executed. The response then has no `data`.
    data: Option<Value>,
    errors: Vec<ServerError>,
    sections: Sections,
    built: ReportedSections,
}

/// The JSON body of the response.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [ServerError],
    #[serde(skip_serializing_if = "Option::is_none")]
    data: &'a Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<Extensions<'a>>,
}

#[derive(Serialize)]
struct Extensions<'a> {
    sections: &'a Sections,
}

impl ExecutionResult {
    /// The result of async-graphql, completed, and the states of the sections.
    pub(super) fn new(
        response: GraphQlResponse,
        fields: &[CollectedField<'_>],
        sources: &SourceMap,
        states: &SectionStates,
    ) -> Self {
        let GraphQlResponse {
            data, mut errors, ..
        } = response;
        for error in &mut errors {
            let Some(field) = field_at(fields, &error.path) else {
                continue;
            };
            match argument_error(error, field, sources) {
                Some(invalid) if error.source.is_none() => error.source = Some(Arc::new(invalid)),
                // A screen reports a missing section at its own position.
                _ => error.locations = vec![field.position],
            }
        }
        // Without data, a limit refused the document.
        let data = match data {
            Value::Null => None,
            data => Some(complete_data(fields, data, &mut errors)),
        };
        // The order of the document. Resolvers complete in any order.
        errors.sort_by_key(|error| error.locations.first().copied());
        Self {
            data,
            errors,
            sections: states.sections(),
            built: states.built(),
        }
    }

    /// The result for a document that was not executed.
    pub(super) fn not_executed(errors: Vec<ServerError>) -> Self {
        Self {
            data: None,
            errors,
            sections: SectionStates::default().sections(),
            built: ReportedSections(Vec::new()),
        }
    }

    /// The HTTP response. The status is 200 even if a screen failed: its field is null, and the other fields are valid.
    pub(super) fn into_response(
        mut self,
        cx: &RequestContext,
        media_type: MediaType,
    ) -> Result<Response, Error> {
        let failures = self.errors.iter_mut().filter_map(|e| make_public(e, cx));
        let worst = failures.max_by_key(Error::status);
        let document = Document {
            errors: &self.errors,
            data: &self.data,
            extensions: (!self.sections.is_empty()).then_some(Extensions {
                sections: &self.sections,
            }),
        };
        let body = serde_json::to_vec(&document).map_err(|error| {
            Error::new(codes::INTERNAL, "The response could not be serialized.").with_cause(error)
        })?;
        let mut response = Response::new(Body::from(body));
        if self.data.is_none() && media_type == MediaType::Response {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, media_type.content_type());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let provenances = self.sections.0.sections().iter().map(|s| &s.provenance);
        status::write_headers(provenances, headers);
        if !self.sections.is_empty()
            && let Some(sections) = self.sections.0.header()
        {
            headers.insert(SECTIONS, sections);
        }
        response.extensions_mut().insert(self.built);
        if let Some(worst) = worst {
            // For the access log: the status is 200 and does not show the failure.
            response.extensions_mut().insert(worst);
        }
        Ok(response)
    }
}

/// Sets the public text and code of an error, and returns the failure, if any. Our own errors have both. Texts
/// of the validation are public. Other texts are from resolvers, and not public.
fn make_public(error: &mut ServerError, cx: &RequestContext) -> Option<Error> {
    let missing = error.source::<MissingSection>().map(|m| m.0.clone());
    let is_failure = missing.is_none();
    let own_error = (missing.or_else(|| error.source::<Error>().cloned()))
        .or_else(|| error.source::<Failure>().map(Failure::error));
    let public = own_error.unwrap_or_else(|| {
        let text = std::mem::take(&mut error.message);
        if error.source.is_none() && error.path.is_empty() {
            Error::new(codes::INVALID_REQUEST, text)
        } else {
            Error::new(codes::INTERNAL, codes::INTERNAL.meaning()).with_cause(text)
        }
    });
    public.detail().clone_into(&mut error.message);
    error.source = None;
    // Other extensions from resolvers are not part of the contract.
    let extensions = error
        .extensions
        .insert(async_graphql::ErrorExtensionValues::default());
    extensions.set("code", public.code().name());
    extensions.set("requestId", cx.request_id().as_str());
    if !public.field_errors().is_empty()
        && let Ok(field_errors) = async_graphql::to_value(public.field_errors())
    {
        extensions.set("errors", field_errors);
    }
    if let Some(after) = public.retry_hint() {
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        extensions.set("retryAfterMs", millis);
    }
    is_failure.then_some(public)
}

/// The error that REST gives for an argument of a valid type that its field does not accept. async-graphql reports it at
/// the position of the argument.
fn argument_error(
    error: &ServerError,
    collected: &CollectedField<'_>,
    sources: &SourceMap,
) -> Option<Error> {
    let argument = (collected.field.arguments)
        .iter()
        .find(|argument| error.locations == [position(argument.location(), sources)])?;
    // async-graphql puts the type before the text, for example `Failed to parse "Int": `.
    let text = error.message.split_once("\": ");
    let text = text.map_or(&*error.message, |(_, text)| text);
    let pointer = format!("/variables/{}", argument.name);
    Some(Error::invalid_at(pointer, text))
}
