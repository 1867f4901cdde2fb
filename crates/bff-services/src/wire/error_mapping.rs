//! Refusals of a write that its caller can mend, told in words of our own.
//!
//! The backend's text stays inside: it may quote what was sent. Only its words of a closed list are read.

use std::time::Duration;

use bff_core::error::codes;
use bff_core::outbound::Failure;
use bff_core::{Code, Error};
use serde::Deserialize;

/// What a backend says became of an `Idempotency-Key`.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum IdempotencyError {
    /// It came with another body before.
    IdempotencyKeyReused,
    /// The first write under it still runs.
    InProgress,
    /// It is not about the key.
    #[serde(other)]
    Other,
}

/// How the backends word an error.
#[derive(Deserialize)]
struct ErrorBody {
    error: IdempotencyError,
}

/// Tells a refusal with `status` as `code`; every other outcome stays what it is.
pub(crate) fn map_status<T>(
    outcome: Result<T, Failure>,
    status: u16,
    code: Code,
) -> Result<T, Failure> {
    map_status_with(outcome, status, code, |_| code.meaning())
}

/// The same with a text for the client that depends on what the backend said.
pub(crate) fn map_status_with<T>(
    outcome: Result<T, Failure>,
    status: u16,
    code: Code,
    detail: impl FnOnce(&Failure) -> &'static str,
) -> Result<T, Failure> {
    outcome.map_err(|failure| {
        if is(&failure, status) {
            let detail = detail(&failure);
            tell(failure, code, detail, None)
        } else {
            failure
        }
    })
}

/// Tells a client that what it sent as a list's cursor is none: of all that such a read is made of, that alone only the
/// backend can judge.
pub(crate) fn map_invalid_cursor<T>(
    outcome: Result<T, Failure>,
    cursor: Option<&str>,
) -> Result<T, Failure> {
    let told = |failure: Failure| {
        let detail = "The cursor is none that this list gave out.";
        failure.with_public_error(Error::new(codes::INVALID_REQUEST, detail))
    };
    outcome.map_err(|failure| match cursor {
        Some(_) if is(&failure, 400) => told(failure),
        _ => failure,
    })
}

/// Tells what became of the `Idempotency-Key`, where that is why the write was refused.
pub(crate) fn map_idempotency_errors<T>(outcome: Result<T, Failure>) -> Result<T, Failure> {
    outcome.map_err(|failure| {
        let said = failure.error_body::<ErrorBody>().map(|said| said.error);
        match said {
            Some(IdempotencyError::IdempotencyKeyReused) if is(&failure, 422) => tell(
                failure,
                codes::KEY_REUSED,
                codes::KEY_REUSED.meaning(),
                None,
            ),
            Some(IdempotencyError::InProgress) if is(&failure, 409) => {
                let after = failure.retry_after().unwrap_or(Duration::from_secs(1));
                let detail = codes::IN_PROGRESS.meaning();
                tell(failure, codes::IN_PROGRESS, detail, Some(after))
            }
            _ => failure,
        }
    })
}

/// Whether the backend answered with `status`.
pub(crate) fn is(failure: &Failure, status: u16) -> bool {
    failure
        .upstream_status()
        .is_some_and(|s| s.as_u16() == status)
}

fn tell(failure: Failure, code: Code, detail: &'static str, after: Option<Duration>) -> Failure {
    let status = failure.upstream_status().map_or(0, |s| s.as_u16());
    let error = Error::new(code, detail)
        .with_retry_after(after)
        .with_cause(format_args!("{} answered {status}", failure.source()));
    failure.with_public_error(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bff_core::Reason;
    use http::StatusCode;

    /// The code of a refusal with this status and word, told by `keyed` after `told`.
    fn code(status: u16, word: &str) -> Code {
        let said = format!(r#"{{"error":"{word}","message":"m"}}"#);
        let status = StatusCode::from_u16(status).unwrap();
        let failure = Failure::new(Reason::BadResponse).with_response(status, said.into());
        let outcome = map_status(Err::<(), _>(failure), 422, codes::VALIDATION_FAILED);
        map_idempotency_errors(outcome).unwrap_err().error().code()
    }

    #[test]
    fn what_the_backend_did_not_refuse_stays_what_it_is() {
        let outcome: Result<(), _> = Err(Failure::new(Reason::Timeout));
        let failure =
            map_idempotency_errors(map_status(outcome, 409, codes::IN_PROGRESS)).unwrap_err();
        assert_eq!(failure.error().code(), codes::TIMEOUT);
        assert!(map_idempotency_errors(map_status(Ok(()), 409, codes::IN_PROGRESS)).is_ok());
    }

    #[test]
    fn what_became_of_the_key_is_told_before_what_became_of_the_write() {
        assert_eq!(code(422, "idempotency_key_reused"), codes::KEY_REUSED);
        assert_eq!(code(422, "invalid"), codes::VALIDATION_FAILED);
        assert_eq!(code(409, "in_progress"), codes::IN_PROGRESS);
        assert_eq!(code(409, "conflict"), codes::BAD_RESPONSE);
        assert_eq!(code(403, "in_progress"), codes::BAD_RESPONSE);
    }
}
