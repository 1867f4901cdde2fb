//! What leaves after execution: texts and codes for outside, and the truth about the sections.

use async_graphql::{Response as Executed, ServerError, Value};
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::request::Media;
use super::section_states::{SectionStates, Sections};
use crate::cache::status;
use crate::context::RequestContext;
use crate::error::{Error, codes};
use crate::outbound::Failure;
use crate::section::screen::SECTIONS;

/// How the library begins what it says about an argument that it could not read during execution.
const ARGUMENT: [&str; 2] = ["Failed to parse \"", "Expected input type \""];

/// The most mistakes told of a document that is refused: nobody mends more at once, and a short one can hold thousands.
const MAX_TOLD: usize = 20;

/// In an error's source: a section is missing. Its state is told beside, so it fails nothing.
pub(super) struct Missing(pub(super) Error);

/// An executed document, or one that was refused.
pub(super) struct Reply {
    /// `None` when nothing was executed: then there is no `data` at all.
    data: Option<Value>,
    errors: Vec<ServerError>,
    sections: Sections,
}

/// The JSON document.
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

impl Reply {
    /// What execution gave.
    pub(super) fn new(executed: Executed, sections: Sections) -> Self {
        // An error of execution has a path; without one the document was not executed.
        let refused = !executed.errors.is_empty()
            && executed.data == Value::Null
            && executed.errors.iter().all(|e| e.path.is_empty());
        Self {
            data: (!refused).then_some(executed.data),
            errors: if refused {
                once(executed.errors)
            } else {
                executed.errors
            },
            sections,
        }
    }

    /// A document that is not executed.
    pub(super) fn refused(error: ServerError) -> Self {
        Self {
            data: None,
            errors: vec![error],
            sections: SectionStates::default().sections(),
        }
    }

    /// The answer over HTTP. A failed screen is a null field and 200: its siblings stand.
    pub(super) fn into_response(
        mut self,
        cx: &RequestContext,
        media: Media,
    ) -> Result<Response, Error> {
        let failures = self.errors.iter_mut().filter_map(|e| tell(e, cx));
        let worst = failures.max_by_key(Error::status);
        let document = Document {
            errors: &self.errors,
            data: &self.data,
            extensions: (!self.sections.is_empty()).then_some(Extensions {
                sections: &self.sections,
            }),
        };
        let body = serde_json::to_vec(&document).map_err(|error| {
            Error::new(codes::INTERNAL, "The answer could not be written.").with_cause(error)
        })?;
        let mut response = Response::new(Body::from(body));
        if self.data.is_none() && media == Media::Response {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, media.content_type());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        status::write_headers(self.sections.0.entries().iter().map(|e| &e.from), headers);
        if !self.sections.is_empty()
            && let Some(sections) = self.sections.0.header()
        {
            headers.insert(SECTIONS, sections);
        }
        if let Some(worst) = worst {
            // For the one log line of this request: the status alone would hide it.
            response.extensions_mut().insert(worst);
        }
        Ok(response)
    }
}

/// The first mistakes, each once: the library walks a document several times, and says some of them each time.
fn once(errors: Vec<ServerError>) -> Vec<ServerError> {
    let mut told: Vec<ServerError> = Vec::new();
    for error in errors {
        if told.len() < MAX_TOLD && !told.contains(&error) {
            told.push(error);
        }
    }
    told
}

/// Gives an error its text and code for outside, and returns what failed. Ours carry them; of the library's own,
/// what it says about the document and its arguments may be told, and nothing else.
fn tell(error: &mut ServerError, cx: &RequestContext) -> Option<Error> {
    let missing = error.source::<Missing>().map(|m| m.0.clone());
    let fails = missing.is_none();
    let ours = (missing.or_else(|| error.source::<Error>().cloned()))
        .or_else(|| error.source::<Failure>().map(Failure::error));
    let told = ours.unwrap_or_else(|| {
        let text = std::mem::take(&mut error.message);
        if error.source.is_none() && is_of_the_document(error, &text) {
            Error::new(codes::INVALID_REQUEST, text)
        } else {
            Error::new(codes::INTERNAL, codes::INTERNAL.meaning()).with_cause(text)
        }
    });
    told.detail().clone_into(&mut error.message);
    error.source = None;
    // Whatever else a resolver put there is not part of the contract.
    let extensions = error
        .extensions
        .insert(async_graphql::ErrorExtensionValues::default());
    extensions.set("code", told.code().name());
    extensions.set("requestId", cx.request_id().as_str());
    if !told.pointers().is_empty()
        && let Ok(wrong) = async_graphql::to_value(told.pointers())
    {
        extensions.set("errors", wrong);
    }
    if let Some(after) = told.retry_hint() {
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        extensions.set("retryAfterMs", millis);
    }
    fails.then_some(told)
}

fn is_of_the_document(error: &ServerError, text: &str) -> bool {
    error.path.is_empty() || ARGUMENT.iter().any(|begin| text.starts_with(begin))
}
