//! The stable codes, all of them, and what each one's page says.
//!
//! Codes are open: a domain adds its own constant beside the client that answers it.

use std::fmt;

use http::StatusCode;

/// A stable code with its status and its texts.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    name: &'static str,
    status: u16,
    title: &'static str,
    meaning: &'static str,
    mend: &'static str,
}

impl Code {
    /// A code. `meaning` says what it stands for, `mend` who can mend it and whether to try again.
    pub const fn new(
        name: &'static str,
        status: u16,
        title: &'static str,
        meaning: &'static str,
        mend: &'static str,
    ) -> Self {
        Self {
            name,
            status,
            title,
            meaning,
            mend,
        }
    }

    /// The code itself: what programs read.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The HTTP status it goes with.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code in words.
    pub const fn title(self) -> &'static str {
        self.title
    }

    /// What it stands for.
    pub const fn meaning(self) -> &'static str {
        self.meaning
    }

    /// Who can mend it, and whether to try again.
    pub const fn remedy(self) -> &'static str {
        self.mend
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

const CALLER: &str = "The caller can mend it; the same request again fails again.";
const WAIT: &str =
    "Nobody needs to change the request: try again after the time that Retry-After gives.";
const OURS: &str = "It is ours or a backend's to mend; a read may be tried again.";

macro_rules! codes {
    ($($constant:ident $name:literal $status:literal $title:literal, $meaning:literal, $mend:expr;)*) => {
        $(#[doc = $meaning] pub const $constant: Code = Code::new($name, $status, $title, $meaning, $mend);)*
        /// Every code of the core.
        pub const ALL: &[Code] = &[$($constant),*];
    };
}

codes! {
    INVALID_REQUEST "invalid_request" 400 "Invalid request", "The request could not be read at all.", CALLER;
    UNAUTHENTICATED "unauthenticated" 401 "Not authenticated", "No valid credential came with the request.", CALLER;
    SESSION_EXPIRED "session_expired" 401 "Session expired", "The session is over; sign in again.", CALLER;
    FORBIDDEN "forbidden" 403 "Forbidden", "The credential is good, but does not allow this.", CALLER;
    CSRF "csrf" 403 "Cross-site request refused", "A state-changing request came without the header that proves its origin.", CALLER;
    APP_VERSION_UNSUPPORTED "app_version_unsupported" 403 "App version not supported", "This version of the app is no longer served; update it.", CALLER;
    NOT_FOUND "not_found" 404 "Not found", "There is nothing at this address.", CALLER;
    METHOD_NOT_ALLOWED "method_not_allowed" 405 "Method not allowed", "The address exists, but not for this method; Allow lists those it has.", CALLER;
    NOT_ACCEPTABLE "not_acceptable" 406 "Not acceptable", "None of the media types asked for can be produced.", CALLER;
    IN_PROGRESS "in_progress" 409 "Still in progress", "The first request with this Idempotency-Key is still running.", WAIT;
    GONE "gone" 410 "Gone", "It was here and will not come back.", CALLER;
    TOO_LARGE "too_large" 413 "Too large", "The body is larger than this address accepts.", CALLER;
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" 415 "Unsupported media type", "The body is of a media type this address does not read.", CALLER;
    VALIDATION_FAILED "validation_failed" 422 "Validation failed", "The request was read, but parts of it are not valid; errors lists them all.", CALLER;
    KEY_REUSED "key_reused" 422 "Idempotency-Key reused", "This Idempotency-Key was used before with another body.", CALLER;
    RATE_LIMITED "rate_limited" 429 "Rate limited", "Too many requests for the time.", WAIT;
    HEADERS_TOO_LARGE "headers_too_large" 431 "Headers too large", "One header is over 16 kB, or there are more than 100.", CALLER;
    INTERNAL "internal" 500 "Internal error", "The gateway itself failed.", OURS;
    BAD_RESPONSE "bad_response" 502 "Bad response", "A backend answered something that could not be used.", OURS;
    UNAVAILABLE "unavailable" 503 "Unavailable", "A backend could not be reached.", WAIT;
    OVERLOADED "overloaded" 503 "Overloaded", "The gateway or a backend has no capacity to spare.", WAIT;
    CIRCUIT_OPEN "circuit_open" 503 "Circuit open", "A backend failed so often that it is given time to recover.", WAIT;
    NO_INSTANCE "no_instance" 503 "No instance", "No instance of a backend is known at the moment.", WAIT;
    DEADLINE "deadline" 504 "Deadline passed", "The time given to the whole request ran out.", OURS;
    TIMEOUT "timeout" 504 "Timeout", "A backend did not answer in the time given to it.", OURS;
    OUTCOME_UNKNOWN "outcome_unknown" 504 "Outcome unknown", "A write was sent and no answer came; it may have happened.", "Repeat it with the same Idempotency-Key to learn what happened.";
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
