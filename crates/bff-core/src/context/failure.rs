//! Why a call gave nothing, in the words of the contract.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::error::{Code, Error, codes};

mod write_outcome;

/// Why a section is not fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The backend did not answer in the time given to one attempt.
    Timeout,
    /// The time of the whole request ran out.
    Deadline,
    /// The backend failed so often that it is not asked for a while.
    CircuitOpen,
    /// The backend, or our share of it, has no capacity to spare.
    Overloaded,
    /// The backend could not be reached.
    Unavailable,
    /// No instance of the backend is known.
    NoInstance,
    /// What the backend answered could not be used.
    BadResponse,
    /// The backend says there is nothing.
    NotFound,
    /// The backend says that the caller may not see it.
    Forbidden,
    /// An operator switched the section off.
    SwitchedOff,
}

impl Reason {
    /// The reason as the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Deadline => "deadline",
            Self::CircuitOpen => "circuit_open",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::NoInstance => "no_instance",
            Self::BadResponse => "bad_response",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::SwitchedOff => "switched_off",
        }
    }

    /// Whether the reason is an answer (trying again changes nothing) and not a mishap.
    pub fn is_definitive(self) -> bool {
        matches!(self, Self::NotFound | Self::Forbidden)
    }

    /// The code a client sees when this fails a whole request.
    pub fn code(self) -> Code {
        match self {
            Self::Timeout => codes::TIMEOUT,
            Self::Deadline => codes::DEADLINE,
            Self::CircuitOpen => codes::CIRCUIT_OPEN,
            Self::Overloaded => codes::OVERLOADED,
            Self::Unavailable | Self::SwitchedOff => codes::UNAVAILABLE,
            Self::NoInstance => codes::NO_INSTANCE,
            Self::BadResponse => codes::BAD_RESPONSE,
            Self::NotFound => codes::NOT_FOUND,
            Self::Forbidden => codes::FORBIDDEN,
        }
    }
}

/// What a backend said when it refused. It may quote what was sent, so it is never printed.
#[derive(Clone, Default)]
struct ErrorBody(Bytes);

impl fmt::Debug for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A call that gave nothing.
#[derive(Clone, Debug)]
pub struct Failure {
    reason: Reason,
    source: &'static str,
    retry_after: Option<Duration>,
    status: Option<StatusCode>,
    said: ErrorBody,
    /// The head of an answer that says that there is nothing: that may be kept.
    head: Option<Arc<HeaderMap>>,
    outside: Option<Error>,
    /// Whether the request may have reached the backend.
    sent: bool,
    /// Whether an earlier attempt of the same call may have done what was asked.
    perhaps_done: bool,
    cause: Option<Cow<'static, str>>,
}

impl Failure {
    /// A failure for `reason`, of no backend yet.
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            source: "",
            retry_after: None,
            status: None,
            said: ErrorBody::default(),
            head: None,
            outside: None,
            sent: true,
            perhaps_done: false,
            cause: None,
        }
    }

    /// Something of ours broke.
    pub(crate) fn internal(cause: impl ToString) -> Self {
        let error = Error::new(codes::INTERNAL, "The gateway could not finish this.");
        Self::from(error.with_cause(cause))
    }

    /// The backend it happened at, unless one is named already.
    #[must_use]
    pub(crate) fn with_upstream(mut self, source: &'static str) -> Self {
        if self.source.is_empty() {
            self.source = source;
        }
        self
    }

    /// What really happened, for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Cow<'static, str>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// When to try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// What the backend answered.
    #[must_use]
    pub fn with_response(mut self, status: StatusCode, said: Bytes) -> Self {
        self.status = Some(status);
        self.said = ErrorBody(said);
        self
    }

    /// With which head it was answered that there is nothing.
    #[must_use]
    pub(crate) fn with_response_headers(mut self, head: HeaderMap) -> Self {
        self.head = Some(Arc::new(head));
        self
    }

    /// With which head it was answered that there is nothing.
    pub(crate) fn response_headers(&self) -> Option<&HeaderMap> {
        self.head.as_deref()
    }

    /// The same without head and body of the answer, which are large beside all else, for whoever keeps it.
    #[must_use]
    pub(crate) fn without_response(mut self) -> Self {
        (self.said, self.head) = (ErrorBody::default(), None);
        self
    }

    /// The code of a domain's own that this refusal is told with.
    #[must_use]
    pub fn with_public_error(mut self, error: Error) -> Self {
        self.outside = Some(error);
        self
    }

    /// The request never left: no connection could be made.
    #[must_use]
    pub(crate) fn not_sent(mut self) -> Self {
        self.sent = false;
        self
    }

    /// Whether a policy of ours refused the attempt: what else is not sent could not be connected.
    pub(crate) fn is_local_rejection(&self) -> bool {
        !self.sent && self.reason != Reason::Unavailable
    }

    /// Whether the request may have reached the backend.
    pub(crate) fn was_sent(&self) -> bool {
        self.sent
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The backend it happened at; empty for none.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// When to try again, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What it is told as, if that is a code of its own.
    pub fn public_error(&self) -> Option<&Error> {
        self.outside.as_ref()
    }

    /// What the backend answered, if it answered.
    pub fn upstream_status(&self) -> Option<StatusCode> {
        self.status
    }

    /// What the backend said when it refused with a 4xx, if that is JSON of this shape: for its typed client alone,
    /// which tells it on in words of its own.
    pub fn error_body<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.said.0).ok()
    }

    /// The one error a client sees when this fails a whole request.
    pub fn error(&self) -> Error {
        if let Some(error) = &self.outside {
            return error.clone();
        }
        let code = self.reason.code();
        let retry_after = self.retry_after.or_else(|| {
            (code.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(1))
        });
        let mut error = Error::new(code, code.meaning()).with_retry_after(retry_after);
        if !self.source.is_empty() {
            let cause = self.cause.as_deref().unwrap_or("no more is known");
            error = error.with_cause(format_args!("{}: {cause}", self.source));
        }
        error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(Reason::BadResponse).with_public_error(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.error().into_response()
    }
}
