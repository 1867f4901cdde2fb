//! The mapping between gRPC statuses and failures, in both directions.
//!
//! A backend's status determines the reason of the failure and the equivalent HTTP status of the response. The last
//! column is the error that a client receives if a screen requires the call.
//!
//! | backend's status | scope of the call | reason | counts as | error for the client |
//! |---|---|---|---|---|
//! | `NOT_FOUND` | any | `not_found` | 404 | 404 `not_found` |
//! | `PERMISSION_DENIED` | caller | `forbidden` | 403 | 403 `forbidden` |
//! | `PERMISSION_DENIED` | other | `bad_response` | 403 | 502 `bad_response` |
//! | `UNAUTHENTICATED` | any | `bad_response` | 401 | 502 `bad_response` |
//! | `RESOURCE_EXHAUSTED` | any | `overloaded` | 429 | 503 `overloaded` |
//! | `UNAVAILABLE` | any | `unavailable` | 503 | 503 `unavailable` |
//! | `DEADLINE_EXCEEDED` | any | `timeout` | - | 504 `timeout` |
//! | `INVALID_ARGUMENT` | any | `bad_response` | 422 | 502 `bad_response` |
//! | `OUT_OF_RANGE` | any | `bad_response` | 422 | 502 `bad_response` |
//! | `ALREADY_EXISTS` | any | `bad_response` | 409 | 502 `bad_response` |
//! | `FAILED_PRECONDITION` | any | `bad_response` | 409 | 502 `bad_response` |
//! | `ABORTED` | any | `bad_response` | 409 | 502 `bad_response` |
//! | `UNIMPLEMENTED` | any | `bad_response` | 405 | 502 `bad_response` |
//! | `INTERNAL` | any | `bad_response` | - | 502 `bad_response` |
//! | `UNKNOWN` | any | `bad_response` | - | 502 `bad_response` |
//! | `DATA_LOSS` | any | `bad_response` | - | 502 `bad_response` |
//! | `CANCELLED` | any | `bad_response` | - | 502 `bad_response` |
//!
//! `DEADLINE_EXCEEDED` is `deadline` if the request's deadline was exceeded. A stream without a final status and a
//! message that is too large are `UNKNOWN` or `INTERNAL`, hence `bad_response`. A message that does not decode is
//! `bad_response` too and counts as 200: it says nothing about the backend's health. A refused connection, a
//! reset and a failed handshake are `unavailable`, without a response. For 409 and 422 the typed client may set its own
//! code.
//!
//! An error of this gateway as a gRPC status, by its HTTP status. The metadata contains the error code, and the retry
//! delay as the pushback of gRFC A6.
//!
//! | HTTP status | gRPC status |
//! |---|---|
//! | 400, 406, 413, 415, 422, 431 | `INVALID_ARGUMENT` |
//! | 401 | `UNAUTHENTICATED` |
//! | 402 | `FAILED_PRECONDITION` |
//! | 403 | `PERMISSION_DENIED` |
//! | 404, 410 | `NOT_FOUND` |
//! | 405, 501 | `UNIMPLEMENTED` |
//! | 409 | `ABORTED` |
//! | 429 | `RESOURCE_EXHAUSTED` |
//! | 500, 502 | `INTERNAL` |
//! | 503 | `UNAVAILABLE` |
//! | 408, 504 | `DEADLINE_EXCEEDED` |
//!
//! Clients may retry `UNAVAILABLE` at once, so it is used only for requests that were not executed. `outcome_unknown`
//! is `DEADLINE_EXCEEDED`: by gRPC's definition the operation may have completed.

use std::error::Error as _;
use std::time::Duration;

use http::StatusCode;
use tonic::metadata::MetadataValue;
use tonic::{Code, ConnectError, Status, TimeoutExpired};

use super::marked_codec::UndecodableMessage;
use crate::attempt::MAX_RETRY_AFTER;
use bff_context::context::{Failure, Reason};
use bff_context::error::Error;

/// The metadata key of the retry delay in milliseconds (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The metadata key of the error code.
const CODE: &str = "problem-code";

/// The failure for a backend's status: the first table.
///
/// `timeout_reason` is the reason of a timeout. `personal` is true for calls with the scope of a caller.
pub(super) fn failure(status: &Status, personal: bool, timeout_reason: Reason) -> Failure {
    if caused_by::<TimeoutExpired>(status) {
        return Failure::new(timeout_reason);
    }
    if caused_by::<UndecodableMessage>(status) {
        return undecodable().with_cause(status.message().to_owned());
    }
    // Only a status that tonic created for a transport error has a source.
    if status.source().is_some() {
        let failure = Failure::new(Reason::Unavailable).with_cause(status.message().to_owned());
        return if caused_by::<ConnectError>(status) {
            failure.not_sent()
        } else {
            failure
        };
    }
    let (reason, http_status) = reason_and_status(status.code(), personal, timeout_reason);
    let pushback = status.metadata().get(PUSHBACK);
    let retry_after = pushback.and_then(|value| retry_after(value.to_str().ok()?));
    let failure = Failure::new(reason)
        .with_retry_after(retry_after)
        .with_retry_forbidden(pushback.is_some() && retry_after.is_none())
        .with_cause(format!(
            "the backend responded with {:?}: {}",
            status.code(),
            status.message()
        ));
    match http_status {
        Some(status) => failure.with_response(status, bytes::Bytes::new()),
        None => failure,
    }
}

/// The failure for a complete message that does not decode.
pub(super) fn undecodable() -> Failure {
    Failure::new(Reason::BadResponse).with_response(StatusCode::OK, bytes::Bytes::new())
}

/// The delay of a pushback, in milliseconds. `None`: a negative or an invalid value forbids a retry.
fn retry_after(pushback: &str) -> Option<Duration> {
    let is_number = !pushback.is_empty() && pushback.bytes().all(|b| b.is_ascii_digit());
    // Only a number that is too large does not parse.
    let millis = is_number.then(|| pushback.parse().unwrap_or(u64::MAX));
    millis.map(|millis| Duration::from_millis(millis).min(MAX_RETRY_AFTER))
}

fn reason_and_status(
    code: Code,
    personal: bool,
    timeout_reason: Reason,
) -> (Reason, Option<StatusCode>) {
    let bad_response = |status| (Reason::BadResponse, Some(status));
    match code {
        Code::NotFound => (Reason::NotFound, Some(StatusCode::NOT_FOUND)),
        Code::PermissionDenied if personal => (Reason::Forbidden, Some(StatusCode::FORBIDDEN)),
        Code::PermissionDenied => bad_response(StatusCode::FORBIDDEN),
        Code::Unauthenticated => bad_response(StatusCode::UNAUTHORIZED),
        Code::ResourceExhausted => (Reason::Overloaded, Some(StatusCode::TOO_MANY_REQUESTS)),
        Code::Unavailable => (Reason::Unavailable, Some(StatusCode::SERVICE_UNAVAILABLE)),
        Code::DeadlineExceeded => (timeout_reason, None),
        Code::InvalidArgument | Code::OutOfRange => bad_response(StatusCode::UNPROCESSABLE_ENTITY),
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => {
            bad_response(StatusCode::CONFLICT)
        }
        // A 4xx, because a method missing in the backend's version is our mistake and no sign of its health.
        Code::Unimplemented => bad_response(StatusCode::METHOD_NOT_ALLOWED),
        Code::Ok | Code::Internal | Code::Unknown | Code::DataLoss | Code::Cancelled => {
            (Reason::BadResponse, None)
        }
    }
}

/// An error of this gateway as a gRPC status: the second table.
pub fn status(error: &Error) -> Status {
    let code = match error.status().as_u16() {
        400 | 406 | 413 | 415 | 422 | 431 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        402 => Code::FailedPrecondition,
        403 => Code::PermissionDenied,
        404 | 410 => Code::NotFound,
        405 | 501 => Code::Unimplemented,
        409 => Code::Aborted,
        429 => Code::ResourceExhausted,
        500 | 502 => Code::Internal,
        503 => Code::Unavailable,
        408 | 504 => Code::DeadlineExceeded,
        _ => Code::Unknown,
    };
    let mut status = Status::new(code, error.detail());
    let metadata = status.metadata_mut();
    metadata.insert(CODE, MetadataValue::from_static(error.code().name()));
    if let Some(after) = error.retry_hint() {
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        metadata.insert(PUSHBACK, MetadataValue::from(millis));
    }
    status
}

fn caused_by<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use bff_context::error::codes;
    use std::collections::BTreeSet;
    use std::io;

    const ALL_CODES: [(&str, Code); 16] = [
        ("NOT_FOUND", Code::NotFound),
        ("PERMISSION_DENIED", Code::PermissionDenied),
        ("UNAUTHENTICATED", Code::Unauthenticated),
        ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
        ("UNAVAILABLE", Code::Unavailable),
        ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
        ("INVALID_ARGUMENT", Code::InvalidArgument),
        ("OUT_OF_RANGE", Code::OutOfRange),
        ("ALREADY_EXISTS", Code::AlreadyExists),
        ("FAILED_PRECONDITION", Code::FailedPrecondition),
        ("ABORTED", Code::Aborted),
        ("UNIMPLEMENTED", Code::Unimplemented),
        ("INTERNAL", Code::Internal),
        ("UNKNOWN", Code::Unknown),
        ("DATA_LOSS", Code::DataLoss),
        ("CANCELLED", Code::Cancelled),
    ];

    /// The rows of the module documentation's table with this number of columns, without its header.
    fn rows(columns: usize) -> Vec<Vec<String>> {
        let lines = include_str!("status.rs").lines();
        let rows = lines.filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"));
        let split = |row: &str| row.split(" | ").map(|c| c.replace('`', "")).collect();
        let rows = rows
            .map(split)
            .filter(|row: &Vec<String>| row.len() == columns);
        rows.skip(1).collect()
    }

    fn code(name: &str) -> Code {
        ALL_CODES.iter().find(|(n, _)| *n == name).unwrap().1
    }

    #[test]
    fn a_status_maps_to_the_failure_in_its_row() {
        let mut names = BTreeSet::new();
        for row in rows(5) {
            let [name, scope, reason, counts_as, client_error] = &row[..] else {
                panic!("{row:?}")
            };
            names.insert(name.clone());
            for personal in [true, false] {
                let applies = match scope.as_str() {
                    "caller" => personal,
                    "other" => !personal,
                    _ => true,
                };
                if !applies {
                    continue;
                }
                let status = Status::new(code(name), "why");
                let failed = failure(&status, personal, Reason::Timeout);
                assert_eq!(failed.reason().as_str(), reason, "{row:?}");
                let status = failed
                    .upstream_status()
                    .map_or("-".into(), |s| s.as_u16().to_string());
                assert_eq!(status, *counts_as, "{row:?}");
                let error = failed.error();
                let error = format!("{} {}", error.status().as_u16(), error.code());
                assert_eq!(error, *client_error, "{row:?}");
            }
        }
        assert_eq!(names.len(), ALL_CODES.len(), "every status has its row");
    }

    #[test]
    fn an_error_maps_to_the_status_in_its_row() {
        let rows = rows(2);
        for error_code in codes::ALL {
            let http = error_code.status().as_u16().to_string();
            let row = rows
                .iter()
                .find(|row| row[0].split(", ").any(|s| s == http));
            let row = row.unwrap_or_else(|| panic!("{error_code} has no row"));
            let status = status(&Error::new(*error_code, "why"));
            assert_eq!(status.code(), code(&row[1]), "{error_code}");
            assert_eq!(status.metadata().get(CODE).unwrap(), error_code.name());
        }
        assert_eq!(rows.len(), 11);
    }

    #[test]
    fn a_timeout_at_the_requests_deadline_is_a_deadline_failure() {
        let failed = failure(&Status::deadline_exceeded("late"), false, Reason::Deadline);
        assert_eq!(failed.reason(), Reason::Deadline);
    }

    #[test]
    fn a_failed_connection_is_unsent_and_a_reset_is_not() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let connect = Status::from_error(Box::new(ConnectError(refused().into())));
        let failed = failure(&connect, true, Reason::Timeout).for_write(true);
        assert_eq!(failed.error().code(), Reason::Unavailable.code());
        let reset = Status::from_error(Box::new(refused()));
        let failed = failure(&reset, true, Reason::Timeout).for_write(true);
        assert_eq!(failed.error().code(), codes::OUTCOME_UNKNOWN);
    }

    #[test]
    fn pushback_maps_to_retry_after_in_both_directions() {
        let mut later = Status::unavailable("later");
        later
            .metadata_mut()
            .insert(PUSHBACK, "1500".parse().unwrap());
        let failed = failure(&later, false, Reason::Timeout);
        assert_eq!(failed.retry_after(), Some(Duration::from_millis(1500)));
        let own = status(&failed.error());
        assert_eq!(own.metadata().get(PUSHBACK).unwrap(), "1500");
        for (text, millis) in [
            ("0", Some(0)),
            ("99999999999999999999", Some(86_400_000)),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            let pushback = text.parse().unwrap();
            later.metadata_mut().insert(PUSHBACK, pushback);
            let failed = failure(&later, false, Reason::Timeout);
            let delay = millis.map(Duration::from_millis);
            assert_eq!(failed.retry_after(), delay, "{text}");
            assert_eq!(failed.is_retry_forbidden(), millis.is_none(), "{text}");
        }
    }
}
