//! Maps a backend's rejection of a write to an error that the client can use.
//!
//! A backend's error text is never sent to the client: it may quote the request. Only values of a closed list are read.

use std::time::Duration;

use bff_core::error::codes;
use bff_core::outbound::Failure;
use bff_core::{Code, Error};
use serde::Deserialize;

/// A backend's error about an `Idempotency-Key`.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum IdempotencyError {
    /// The key was used before with another body.
    IdempotencyKeyReused,
    /// The first write with this key is still running.
    InProgress,
    /// The error is not about the key.
    #[serde(other)]
    Other,
}

/// The body of a backend's error.
#[derive(Deserialize)]
struct ErrorBody {
    error: IdempotencyError,
}

/// Maps a failure with `status` to `code`. Any other outcome is returned unchanged.
pub(crate) fn map_status<T>(
    outcome: Result<T, Failure>,
    status: u16,
    code: Code,
) -> Result<T, Failure> {
    map_status_with(outcome, status, code, |_| code.meaning())
}

/// Maps a 422 to an invalid member of the client's request. `detail` says what is wrong there.
pub(crate) fn map_invalid<T>(
    outcome: Result<T, Failure>,
    pointer: &'static str,
    detail: &'static str,
) -> Result<T, Failure> {
    outcome.map_err(|failure| {
        if has_status(&failure, 422) {
            with_error(failure, Error::invalid_at(pointer, detail))
        } else {
            failure
        }
    })
}

/// Like [`map_status`], with a text for the client that depends on the failure.
pub(crate) fn map_status_with<T>(
    outcome: Result<T, Failure>,
    status: u16,
    code: Code,
    detail: impl FnOnce(&Failure) -> &'static str,
) -> Result<T, Failure> {
    outcome.map_err(|failure| {
        if has_status(&failure, status) {
            let detail = detail(&failure);
            with_code(failure, code, detail, None)
        } else {
            failure
        }
    })
}

/// Maps a 400 to a page that does not exist, if the request had a cursor. Only the backend can validate its cursors; the
/// gateway validated everything else.
pub(crate) fn map_unknown_cursor<T>(
    outcome: Result<T, Failure>,
    cursor: Option<&str>,
) -> Result<T, Failure> {
    outcome.map_err(|failure| {
        if cursor.is_none() || !has_status(&failure, 400) {
            return failure;
        }
        failure.with_public_error(Error::new(codes::NOT_FOUND, "No page has this cursor."))
    })
}

/// Maps a rejection because of the `Idempotency-Key` to the code for it.
pub(crate) fn map_idempotency_errors<T>(outcome: Result<T, Failure>) -> Result<T, Failure> {
    outcome.map_err(|failure| {
        let error = failure.error_body::<ErrorBody>().map(|body| body.error);
        match error {
            Some(IdempotencyError::IdempotencyKeyReused) if has_status(&failure, 422) => with_code(
                failure,
                codes::KEY_REUSED,
                codes::KEY_REUSED.meaning(),
                None,
            ),
            Some(IdempotencyError::InProgress) if has_status(&failure, 409) => {
                let after = failure.retry_after().unwrap_or(Duration::from_secs(1));
                let detail = codes::IN_PROGRESS.meaning();
                with_code(failure, codes::IN_PROGRESS, detail, Some(after))
            }
            _ => failure,
        }
    })
}

/// Whether the backend's response had `status`.
pub(crate) fn has_status(failure: &Failure, status: u16) -> bool {
    failure
        .upstream_status()
        .is_some_and(|s| s.as_u16() == status)
}

fn with_code(
    failure: Failure,
    code: Code,
    detail: &'static str,
    retry_after: Option<Duration>,
) -> Failure {
    let error = Error::new(code, detail).with_retry_after(retry_after);
    with_error(failure, error)
}

fn with_error(failure: Failure, error: Error) -> Failure {
    let status = failure.upstream_status().map_or(0, |s| s.as_u16());
    let cause = format!("{} answered {status}", failure.source());
    failure.with_public_error(error.with_cause(cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bff_core::Reason;
    use http::StatusCode;

    /// The code of a failure with this status and error value, after both mappings.
    fn mapped_code(status: u16, value: &str) -> Code {
        let body = format!(r#"{{"error":"{value}","message":"m"}}"#);
        let status = StatusCode::from_u16(status).unwrap();
        let failure = Failure::new(Reason::BadResponse).with_response(status, body.into());
        let outcome = map_invalid(Err::<(), _>(failure), "/a", "wrong");
        map_idempotency_errors(outcome).unwrap_err().error().code()
    }

    #[test]
    fn other_outcomes_are_unchanged() {
        let outcome: Result<(), _> = Err(Failure::new(Reason::Timeout));
        let failure =
            map_idempotency_errors(map_status(outcome, 409, codes::IN_PROGRESS)).unwrap_err();
        assert_eq!(failure.error().code(), codes::TIMEOUT);
        assert!(map_idempotency_errors(map_status(Ok(()), 409, codes::IN_PROGRESS)).is_ok());
    }

    #[test]
    fn an_error_about_the_key_takes_precedence() {
        assert_eq!(
            mapped_code(422, "idempotency_key_reused"),
            codes::KEY_REUSED
        );
        assert_eq!(mapped_code(422, "invalid"), codes::VALIDATION_FAILED);
        assert_eq!(mapped_code(409, "in_progress"), codes::IN_PROGRESS);
        assert_eq!(mapped_code(409, "conflict"), codes::BAD_RESPONSE);
        assert_eq!(mapped_code(403, "in_progress"), codes::BAD_RESPONSE);
    }
}
