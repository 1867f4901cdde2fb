//! Decides which failures are retryable. `retry_delay.rs` checks the remaining time and the retry budget.
//!
//! | failure | retried |
//! |---|---|
//! | the request was not sent | always, for any method |
//! | timeout; connection reset; 500, 502, 503, 504; a body that is incomplete or not JSON | if the call is idempotent |
//! | 429 | if the call is idempotent and the response has `Retry-After` |
//! | any other response; the request's deadline exceeded; rejected by a local policy | never |

use std::num::NonZeroU32;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use bff_context::context::{Failure, Reason};

/// The maximum number of attempts for one call.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The maximum number of attempts, including the first one and its hedge. Default 2: a second attempt succeeds
    /// after most transient failures; a third one mostly adds load.
    pub max_attempts: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_attempts: NonZeroU32::new(2).unwrap_or(NonZeroU32::MIN),
        }
    }
}

impl Config {
    /// Whether a call may make another attempt after `attempts` attempts.
    pub fn allows_another(&self, attempts: u32) -> bool {
        attempts < self.max_attempts.get()
    }
}

/// The properties of a call that decide about retries, hedges and timeouts.
#[derive(Clone, Copy, Debug)]
pub struct RetryTraits {
    /// Whether the call is idempotent.
    pub idempotent: bool,
    /// Whether the call may be hedged.
    pub hedged: bool,
    /// The attempt timeout, if it differs from the backend's `attempt_timeout`. The client then influences the duration
    /// (for example while its body is streamed), so the duration does not count as the backend's latency.
    pub attempt_timeout: Option<Duration>,
    /// Whether the exchange continues after the response headers, as streams do.
    pub streaming: bool,
    /// Whether a failure is retryable. The second argument is `idempotent`.
    pub is_retryable: fn(&Failure, bool) -> bool,
}

/// Whether the call is idempotent: by method (RFC 9110 §9.2.2), by declaration, or by an idempotency key.
pub fn is_idempotent(method: &Method, declared: bool) -> bool {
    declared || method.is_idempotent()
}

/// Whether a failed call over HTTP may be retried.
pub fn is_retryable(failure: &Failure, idempotent: bool) -> bool {
    match failure.reason() {
        // A local policy rejected the attempt. An immediate retry would be rejected too.
        Reason::Overloaded if !failure.was_sent() => false,
        Reason::Overloaded => idempotent && failure.retry_after().is_some(),
        Reason::Unavailable => idempotent || !failure.was_sent(),
        Reason::Timeout => idempotent,
        Reason::BadResponse => idempotent && failure.upstream_status().is_none_or(is_transient),
        Reason::Deadline
        | Reason::CircuitOpen
        | Reason::NoInstance
        | Reason::NotFound
        | Reason::Forbidden
        | Reason::SwitchedOff => false,
    }
}

/// Whether a failed call over gRPC may be retried: only `UNAVAILABLE` without a pushback that forbids it (gRFC A6).
pub fn is_retryable_grpc(failure: &Failure, idempotent: bool) -> bool {
    failure.reason() == Reason::Unavailable
        && !failure.is_retry_forbidden()
        && is_retryable(failure, idempotent)
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const ALL_REASONS: [Reason; 10] = [
        Reason::Timeout,
        Reason::Deadline,
        Reason::CircuitOpen,
        Reason::Overloaded,
        Reason::Unavailable,
        Reason::NoInstance,
        Reason::BadResponse,
        Reason::NotFound,
        Reason::Forbidden,
        Reason::SwitchedOff,
    ];

    fn failure(reason: Reason, status: u16, has_retry_after: bool, sent: bool) -> Failure {
        let retry_after = has_retry_after.then_some(Duration::from_secs(1));
        let failure = Failure::new(reason).with_retry_after(retry_after);
        let failure = match StatusCode::from_u16(status) {
            Ok(status) => failure.with_response(status, bytes::Bytes::new()),
            Err(_) => failure,
        };
        if sent { failure } else { failure.not_sent() }
    }

    #[test]
    fn failures_are_retried_as_the_table_says() {
        for (reason, status, retried) in [
            (Reason::Timeout, 0, true),
            (Reason::Unavailable, 0, true),
            (Reason::Unavailable, 503, true),
            (Reason::BadResponse, 0, true),
            (Reason::BadResponse, 500, true),
            (Reason::BadResponse, 502, true),
            (Reason::BadResponse, 504, true),
            (Reason::BadResponse, 200, false),
            (Reason::BadResponse, 501, false),
            (Reason::BadResponse, 401, false),
            (Reason::BadResponse, 409, false),
            (Reason::BadResponse, 422, false),
            (Reason::NotFound, 404, false),
            (Reason::Forbidden, 403, false),
            (Reason::Deadline, 0, false),
            (Reason::CircuitOpen, 0, false),
            (Reason::NoInstance, 0, false),
            (Reason::SwitchedOff, 0, false),
        ] {
            let failure = failure(reason, status, false, true);
            assert_eq!(is_retryable(&failure, true), retried, "{reason:?} {status}");
            assert!(!is_retryable(&failure, false), "{reason:?} {status}");
        }
    }

    #[test]
    fn an_unsent_request_is_retried_for_any_method() {
        let unsent = failure(Reason::Unavailable, 0, false, false);
        assert!(is_retryable(&unsent, false));
        assert!(is_retryable_grpc(&unsent, false));
        let forbidden = unsent.with_retry_forbidden(true);
        assert!(!is_retryable_grpc(&forbidden, true));
    }

    #[test]
    fn a_429_is_retried_only_with_retry_after() {
        assert!(is_retryable(
            &failure(Reason::Overloaded, 429, true, true),
            true
        ));
        assert!(!is_retryable(
            &failure(Reason::Overloaded, 429, false, true),
            true
        ));
        let full = failure(Reason::Overloaded, 0, true, false);
        assert!(!is_retryable(&full, true), "rejected by the bulkhead");
    }

    #[test]
    fn a_declaration_makes_a_write_idempotent() {
        assert!(is_idempotent(&Method::GET, false));
        assert!(is_idempotent(&Method::PUT, false));
        assert!(!is_idempotent(&Method::POST, false));
        assert!(!is_idempotent(&Method::PATCH, false));
        assert!(is_idempotent(&Method::POST, true));
    }

    #[test]
    fn grpc_retries_unavailable_only() {
        for reason in ALL_REASONS {
            let failed = failure(reason, 0, true, true);
            let retried = is_retryable_grpc(&failed, true);
            assert_eq!(retried, reason == Reason::Unavailable, "{reason:?}");
        }
    }

    proptest! {
        #[test]
        fn a_sent_request_that_is_not_idempotent_is_never_retried(
            reason in prop::sample::select(&ALL_REASONS[..]),
            status in 0_u16..600,
            has_retry_after: bool,
        ) {
            let failure = failure(reason, status, has_retry_after, true);
            prop_assert!(!is_retryable(&failure, false));
            prop_assert!(!is_retryable_grpc(&failure, false));
        }
    }
}
