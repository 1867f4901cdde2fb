//! All stable error codes, and the texts of their pages.
//!
//! The set is open: a domain crate adds its own constants beside the client that returns them.

use std::fmt;

use http::StatusCode;

/// A stable code with its status and its texts.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    name: &'static str,
    status: u16,
    title: &'static str,
    meaning: &'static str,
    remedy: &'static str,
}

impl Code {
    /// A code. `meaning` explains it; `remedy` says how to fix the failure and whether to try again.
    pub const fn new(
        name: &'static str,
        status: u16,
        title: &'static str,
        meaning: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self {
            name,
            status,
            title,
            meaning,
            remedy,
        }
    }

    /// The code, for programs.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code in words.
    pub const fn title(self) -> &'static str {
        self.title
    }

    /// The meaning of the code.
    pub const fn meaning(self) -> &'static str {
        self.meaning
    }

    /// The remedy: how to fix the failure, and whether to try again.
    pub const fn remedy(self) -> &'static str {
        self.remedy
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Code {}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const CHANGE: &str = "Change the request. The same request fails again.";
const WAIT: &str = "Try the same request again after the time in Retry-After.";
const RETRY_READ: &str = "The gateway or a backend failed. A read may be tried again.";

macro_rules! codes {
    ($($constant:ident $name:literal $status:literal $title:literal, $meaning:literal, $remedy:expr;)*) => {
        $(#[doc = $meaning] pub const $constant: Code = Code::new($name, $status, $title, $meaning, $remedy);)*
        /// Every code of the core.
        pub const ALL: &[Code] = &[$($constant),*];
    };
}

codes! {
    INVALID_REQUEST "invalid_request" 400 "Invalid request", "The request cannot be read.", CHANGE;
    UNAUTHENTICATED "unauthenticated" 401 "Not authenticated", "The request has no valid credential.", CHANGE;
    SESSION_EXPIRED "session_expired" 401 "Session expired", "The session has ended. Sign in again.", CHANGE;
    FORBIDDEN "forbidden" 403 "Forbidden", "The credential is valid, but does not allow this.", CHANGE;
    CSRF "csrf" 403 "Cross-site request refused", "A state-changing request lacks the header that proves its origin.", CHANGE;
    APP_VERSION_UNSUPPORTED "app_version_unsupported" 403 "App version not supported", "This version of the app is no longer supported. Update it.", CHANGE;
    NOT_FOUND "not_found" 404 "Not found", "There is nothing at this address.", CHANGE;
    METHOD_NOT_ALLOWED "method_not_allowed" 405 "Method not allowed", "The address exists, but not for this method. Allow lists its methods.", CHANGE;
    NOT_ACCEPTABLE "not_acceptable" 406 "Not acceptable", "None of the accepted media types or encodings is supported.", CHANGE;
    REQUEST_TIMEOUT "request_timeout" 408 "Request timeout", "The body of the request did not arrive whole and in time. Nothing was changed.", "Send the same request again, whole. If your network is slow, send a longer Request-Timeout.";
    IN_PROGRESS "in_progress" 409 "Still in progress", "The first request with this Idempotency-Key is still running.", WAIT;
    GONE "gone" 410 "Gone", "The resource existed, and will not come back.", CHANGE;
    TOO_LARGE "too_large" 413 "Too large", "The body is larger than this address allows.", CHANGE;
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" 415 "Unsupported media type", "The media type or encoding of the body is not supported.", CHANGE;
    VALIDATION_FAILED "validation_failed" 422 "Validation failed", "The request was read, but parts of it are not valid. The member errors lists them.", CHANGE;
    KEY_REUSED "key_reused" 422 "Idempotency-Key reused", "This Idempotency-Key was used with another body.", CHANGE;
    RATE_LIMITED "rate_limited" 429 "Rate limited", "Too many requests in this period.", WAIT;
    HEADERS_TOO_LARGE "headers_too_large" 431 "Headers too large", "A header is over 16 kB, or there are more than 100.", CHANGE;
    INTERNAL "internal" 500 "Internal error", "The gateway failed.", RETRY_READ;
    NOT_IMPLEMENTED "not_implemented" 501 "Not implemented", "The request has a transfer coding other than chunked.", CHANGE;
    BAD_RESPONSE "bad_response" 502 "Bad response", "The response of a backend cannot be used.", RETRY_READ;
    UNAVAILABLE "unavailable" 503 "Unavailable", "A backend, or the idempotency store, cannot be reached.", WAIT;
    OVERLOADED "overloaded" 503 "Overloaded", "The gateway or a backend has no capacity.", WAIT;
    CIRCUIT_OPEN "circuit_open" 503 "Circuit open", "A backend has failed often and gets time to recover.", WAIT;
    NO_INSTANCE "no_instance" 503 "No instance", "No instance of a backend is known.", WAIT;
    DEADLINE "deadline" 504 "Deadline passed", "The time of the whole request ran out.", RETRY_READ;
    TIMEOUT "timeout" 504 "Timeout", "A backend did not answer in time.", RETRY_READ;
    OUTCOME_UNKNOWN "outcome_unknown" 504 "Outcome unknown", "A write was sent and no answer came. It may have happened.", "Repeat it with the same Idempotency-Key to learn its outcome.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_statuses_are_errors() {
        for (i, code) in ALL.iter().enumerate() {
            assert!(code.status().as_u16() >= 400, "{code}");
            assert!(!ALL[..i].contains(code), "{code} twice");
        }
    }
}
