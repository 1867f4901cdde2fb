//! What a gRPC status means, both ways.
//!
//! What a backend's status becomes: why the call failed, the status it counts as having been answered with, and what
//! a client sees of it where a screen cannot be without.
//!
//! | a backend's status | on a call | reason | answered | our client sees |
//! |---|---|---|---|---|
//! | `NOT_FOUND` | any | `not_found` | 404 | 404 `not_found` |
//! | `PERMISSION_DENIED` | of a caller | `forbidden` | 403 | 403 `forbidden` |
//! | `PERMISSION_DENIED` | of nobody | `bad_response` | 403 | 502 `bad_response` |
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
//! `DEADLINE_EXCEEDED` is `deadline` when the time was the whole request's. No status at the end, a message too large and
//! one that does not decode are `UNKNOWN` or `INTERNAL`, hence `bad_response`. Refused, reset, a handshake that failed:
//! `unavailable`, and nothing was answered. A refusal counted as 409 or 422 may get a code of the typed client's own.
//!
//! What a failure of ours looks like to whoever speaks gRPC to us, by the status that it has over HTTP. The code itself
//! goes along as metadata, and when to try again as the pushback of gRFC A6.
//!
//! | our status | as gRPC |
//! |---|---|
//! | 400, 406, 413, 415, 422, 431 | `INVALID_ARGUMENT` |
//! | 401 | `UNAUTHENTICATED` |
//! | 402 | `FAILED_PRECONDITION` |
//! | 403 | `PERMISSION_DENIED` |
//! | 404, 410 | `NOT_FOUND` |
//! | 405 | `UNIMPLEMENTED` |
//! | 409 | `ABORTED` |
//! | 429 | `RESOURCE_EXHAUSTED` |
//! | 500, 502 | `INTERNAL` |
//! | 503 | `UNAVAILABLE` |
//! | 504 | `DEADLINE_EXCEEDED` |
//!
//! `UNAVAILABLE` alone invites to try again at once, so only what is sure not to have happened is told by it:
//! `outcome_unknown` is `DEADLINE_EXCEEDED`, which gRPC defines as "may have happened".

use std::error::Error as _;
use std::time::Duration;

use http::StatusCode;
use tonic::metadata::MetadataValue;
use tonic::{Code, ConnectError, Status, TimeoutExpired};

use crate::error::Error;
use crate::outbound::{Failure, Reason};

/// When to try again (gRFC A6), in milliseconds.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Metadata that holds the code of a failure of ours.
const CODE: &str = "problem-code";

/// What a backend's status means to our client: the first table. `late` is what it is to have come too late. Only
/// what never reached us has a source.
pub(super) fn failure(status: &Status, personal: bool, late: Reason) -> Failure {
    if caused_by::<TimeoutExpired>(status) {
        return Failure::new(late);
    }
    if status.source().is_some() {
        let failure = Failure::new(Reason::Unavailable).with_cause(status.message().to_owned());
        return if caused_by::<ConnectError>(status) {
            failure.not_sent()
        } else {
            failure
        };
    }
    let (reason, answered) = meaning(status.code(), personal, late);
    let pushback = status.metadata().get(PUSHBACK);
    let retry_after = pushback
        .and_then(|v| v.to_str().ok()?.parse().ok())
        .map(Duration::from_millis);
    let failure = Failure::new(reason)
        .with_retry_after(retry_after)
        .with_cause(format!(
            "it answered {:?}: {}",
            status.code(),
            status.message()
        ));
    match answered {
        Some(answered) => failure.with_response(answered, bytes::Bytes::new()),
        None => failure,
    }
}

fn meaning(code: Code, personal: bool, late: Reason) -> (Reason, Option<StatusCode>) {
    let bad = |status| (Reason::BadResponse, Some(status));
    match code {
        Code::NotFound => (Reason::NotFound, Some(StatusCode::NOT_FOUND)),
        Code::PermissionDenied if personal => (Reason::Forbidden, Some(StatusCode::FORBIDDEN)),
        Code::PermissionDenied => bad(StatusCode::FORBIDDEN),
        Code::Unauthenticated => bad(StatusCode::UNAUTHORIZED),
        Code::ResourceExhausted => (Reason::Overloaded, Some(StatusCode::TOO_MANY_REQUESTS)),
        Code::Unavailable => (Reason::Unavailable, Some(StatusCode::SERVICE_UNAVAILABLE)),
        Code::DeadlineExceeded => (late, None),
        Code::InvalidArgument | Code::OutOfRange => bad(StatusCode::UNPROCESSABLE_ENTITY),
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => bad(StatusCode::CONFLICT),
        // Our mistake, not a sign of its health: a method that this version of it does not have.
        Code::Unimplemented => bad(StatusCode::METHOD_NOT_ALLOWED),
        Code::Ok | Code::Internal | Code::Unknown | Code::DataLoss | Code::Cancelled => {
            (Reason::BadResponse, None)
        }
    }
}

/// A failure of ours as a gRPC status: the second table.
pub fn status(error: &Error) -> Status {
    let code = match error.status().as_u16() {
        400 | 406 | 413 | 415 | 422 | 431 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        402 => Code::FailedPrecondition,
        403 => Code::PermissionDenied,
        404 | 410 => Code::NotFound,
        405 => Code::Unimplemented,
        409 => Code::Aborted,
        429 => Code::ResourceExhausted,
        500 | 502 => Code::Internal,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
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
    use crate::error::codes;
    use std::collections::BTreeSet;
    use std::io;

    const EVERY: [(&str, Code); 16] = [
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

    /// The rows of the tables above that have so many cells, without their heads.
    fn rows(cells: usize) -> Vec<Vec<String>> {
        let lines = include_str!("status.rs").lines();
        let rows = lines.filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"));
        let split = |row: &str| row.split(" | ").map(|c| c.replace('`', "")).collect();
        let rows = rows
            .map(split)
            .filter(|row: &Vec<String>| row.len() == cells);
        rows.skip(1).collect()
    }

    fn code(name: &str) -> Code {
        EVERY.iter().find(|(n, _)| *n == name).unwrap().1
    }

    #[test]
    fn a_status_becomes_what_its_row_says() {
        let mut told = BTreeSet::new();
        for row in rows(5) {
            let [name, call, reason, answered, seen] = &row[..] else {
                panic!("{row:?}")
            };
            told.insert(name.clone());
            for personal in [true, false] {
                let applies = match call.as_str() {
                    "of a caller" => personal,
                    "of nobody" => !personal,
                    _ => true,
                };
                if !applies {
                    continue;
                }
                let status = Status::new(code(name), "why");
                let failed = failure(&status, personal, Reason::Timeout);
                assert_eq!(failed.reason().as_str(), reason, "{row:?}");
                let counts = failed
                    .upstream_status()
                    .map_or("-".into(), |s| s.as_u16().to_string());
                assert_eq!(counts, *answered, "{row:?}");
                let error = failed.error();
                let told = format!("{} {}", error.status().as_u16(), error.code());
                assert_eq!(told, *seen, "{row:?}");
            }
        }
        assert_eq!(told.len(), EVERY.len(), "every status has its row");
    }

    #[test]
    fn a_failure_of_ours_becomes_what_its_row_says() {
        let rows = rows(2);
        for ours in codes::ALL {
            let http = ours.status().as_u16().to_string();
            let row = rows
                .iter()
                .find(|row| row[0].split(", ").any(|s| s == http));
            let row = row.unwrap_or_else(|| panic!("{ours} has no row"));
            let told = status(&Error::new(*ours, "why"));
            assert_eq!(told.code(), code(&row[1]), "{ours}");
            assert_eq!(told.metadata().get(CODE).unwrap(), ours.name());
        }
        assert_eq!(rows.len(), 11);
    }

    #[test]
    fn a_time_that_was_the_whole_requests_is_told_as_that() {
        let late = failure(&Status::deadline_exceeded("late"), false, Reason::Deadline);
        assert_eq!(late.reason(), Reason::Deadline);
    }

    #[test]
    fn what_never_left_can_be_told_from_what_broke_on_its_way() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let connect = Status::from_error(Box::new(ConnectError(refused().into())));
        let failed = failure(&connect, true, Reason::Timeout).for_write(true);
        assert_eq!(failed.error().code(), Reason::Unavailable.code());
        let reset = Status::from_error(Box::new(refused()));
        let failed = failure(&reset, true, Reason::Timeout).for_write(true);
        assert_eq!(failed.error().code(), codes::OUTCOME_UNKNOWN);
    }

    #[test]
    fn pushback_is_a_hint_when_to_try_again_both_ways() {
        let mut later = Status::unavailable("later");
        later
            .metadata_mut()
            .insert(PUSHBACK, "1500".parse().unwrap());
        let failed = failure(&later, false, Reason::Timeout);
        assert_eq!(failed.retry_after(), Some(Duration::from_millis(1500)));
        let told = status(&failed.error());
        assert_eq!(told.metadata().get(PUSHBACK).unwrap(), "1500");
    }
}
