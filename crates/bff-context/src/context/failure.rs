//! A failed call, with the contract's reason for the failure.

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

/// The reason why a section is not fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The backend did not respond within the timeout of one attempt.
    Timeout,
    /// The deadline of the whole request was exceeded.
    Deadline,
    /// The circuit breaker is open after too many failures of the backend.
    CircuitOpen,
    /// The backend, or this gateway's limit for it, has no free capacity.
    Overloaded,
    /// The backend is unreachable.
    Unavailable,
    /// Service discovery knows no instance of the backend.
    NoInstance,
    /// The backend's response is invalid.
    BadResponse,
    /// The backend reports that the resource does not exist.
    NotFound,
    /// The backend reports that the caller has no access.
    Forbidden,
    /// An operator switched the section off.
    SwitchedOff,
}

impl Reason {
    /// The reason's name on the wire.
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

    /// Whether a retry cannot change the result, because the backend decided it.
    pub fn is_definitive(self) -> bool {
        matches!(self, Self::NotFound | Self::Forbidden)
    }

    /// The error code that a client receives when this reason fails a whole request.
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

/// The body of a backend's 4xx response. It may quote the request, so it is never printed.
#[derive(Clone, Default)]
struct ErrorBody(Bytes);

impl fmt::Debug for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A failed call.
#[derive(Clone, Debug)]
pub struct Failure {
    reason: Reason,
    source: &'static str,
    retry_after: Option<Duration>,
    status: Option<StatusCode>,
    error_body: ErrorBody,
    /// The headers of a 404 response, which is cacheable.
    response_headers: Option<Arc<HeaderMap>>,
    public_error: Option<Error>,
    /// Whether the request may have reached the backend.
    sent: bool,
    /// Whether an earlier attempt of the same call may have been applied.
    earlier_attempt_uncertain: bool,
    /// Whether the backend forbids a retry.
    retry_forbidden: bool,
    cause: Option<Cow<'static, str>>,
}

impl Failure {
    /// Creates a failure for `reason`. Its backend is not set yet.
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            source: "",
            retry_after: None,
            status: None,
            error_body: ErrorBody::default(),
            response_headers: None,
            public_error: None,
            sent: true,
            earlier_attempt_uncertain: false,
            retry_forbidden: false,
            cause: None,
        }
    }

    /// Creates a failure for a fault of the gateway itself.
    pub fn internal(cause: impl ToString) -> Self {
        let error = Error::new(
            codes::INTERNAL,
            "The gateway failed to process the request.",
        );
        Self::from(error.with_cause(cause))
    }

    /// Sets the backend, unless it is set already.
    #[must_use]
    pub fn with_upstream(mut self, source: &'static str) -> Self {
        if self.source.is_empty() {
            self.source = source;
        }
        self
    }

    /// Sets the internal cause, for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Cow<'static, str>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Sets the delay after which a retry makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// Marks the failure as one that the backend forbids to retry.
    #[must_use]
    pub fn with_retry_forbidden(mut self, forbidden: bool) -> Self {
        self.retry_forbidden = forbidden;
        self
    }

    /// Whether the backend forbids a retry.
    pub fn is_retry_forbidden(&self) -> bool {
        self.retry_forbidden
    }

    /// Sets the status and the body of the backend's response.
    #[must_use]
    pub fn with_response(mut self, status: StatusCode, error_body: Bytes) -> Self {
        self.status = Some(status);
        self.error_body = ErrorBody(error_body);
        self
    }

    /// Sets the headers of a 404 response.
    #[must_use]
    pub fn with_response_headers(mut self, headers: HeaderMap) -> Self {
        self.response_headers = Some(Arc::new(headers));
        self
    }

    /// The headers of a 404 response.
    pub fn response_headers(&self) -> Option<&HeaderMap> {
        self.response_headers.as_deref()
    }

    /// Removes the response's headers and body, so that a stored failure stays small.
    #[must_use]
    pub fn without_response(mut self) -> Self {
        self.error_body = ErrorBody::default();
        self.response_headers = None;
        self
    }

    /// Sets the error that clients receive instead of the reason's general code.
    #[must_use]
    pub fn with_public_error(mut self, error: Error) -> Self {
        self.public_error = Some(error);
        self
    }

    /// Marks the request as not sent: a policy rejected it, or no connection could be made.
    #[must_use]
    pub fn not_sent(mut self) -> Self {
        self.sent = false;
        self
    }

    /// Whether a local policy rejected the attempt. Otherwise an unsent request means that connecting failed.
    pub fn is_local_rejection(&self) -> bool {
        !self.sent && self.reason != Reason::Unavailable
    }

    /// Whether the request may have reached the backend.
    pub fn was_sent(&self) -> bool {
        self.sent
    }

    /// The reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The backend's name; empty if no backend is involved.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// The delay after which a retry makes sense, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The error that clients receive instead of the reason's general code, if set.
    pub fn public_error(&self) -> Option<&Error> {
        self.public_error.as_ref()
    }

    /// The status of the backend's response, if it responded.
    pub fn upstream_status(&self) -> Option<StatusCode> {
        self.status
    }

    /// The JSON body of the backend's 4xx response, if it has the shape `T`.
    ///
    /// Only the backend's typed client reads it, and turns it into a public error with its own text.
    pub fn error_body<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.error_body.0).ok()
    }

    /// The error that a client receives when this failure fails a whole request.
    pub fn error(&self) -> Error {
        if let Some(error) = &self.public_error {
            return error.clone();
        }
        let code = self.reason.code();
        let retry_after = self.retry_after.or_else(|| {
            (code.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(1))
        });
        let mut error = Error::new(code, code.meaning()).with_retry_after(retry_after);
        if !self.source.is_empty() {
            let cause = self.cause.as_deref().unwrap_or("unknown cause");
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
