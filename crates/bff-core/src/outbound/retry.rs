//! Which failures may be tried again. Whether there is time and budget for it is asked elsewhere.
//!
//! | failure | tried again |
//! |---|---|
//! | the request never left | always, whatever the method |
//! | timeout; reset; 500, 502, 503, 504; a body cut short or not decodable | if repeating it is harmless |
//! | 429 | the same, and only if the backend says when |
//! | any other answer; the request's own time is up; refused by a policy of ours | never |

use std::num::NonZeroU32;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Failure, Reason};

/// How often one call is tried.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Attempts of one call, the first and its hedge included. Default 2: a second one mends most mishaps, a
    /// third mostly adds load.
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
    /// Whether a call that made `attempts` may make one more.
    pub fn allows_another(&self, attempts: u32) -> bool {
        attempts < self.max_attempts.get()
    }
}

/// How a call may be repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryTraits {
    /// Whether doing it twice is doing it once.
    pub(crate) idempotent: bool,
    /// Whether a second attempt may race a slow first one.
    pub(crate) hedged: bool,
    /// How long an attempt may take, if not as long as the backend's own `attempt_timeout`. It is then not the backend
    /// alone that takes the time, as while a client's body streams through, and no measure of how fast it is.
    pub(crate) attempt_timeout: Option<Duration>,
    /// Whether it goes on after the head of its answer for as long as its client likes, as streams do.
    pub(crate) streaming: bool,
    /// Whether a call that failed so, being harmless to repeat or not, may be tried again.
    pub(crate) is_retryable: fn(&Failure, bool) -> bool,
}

/// Whether doing it twice is doing it once: RFC 9110 §9.2.2, or the call says so, or has a key by which the backend knows the
/// repetition.
pub fn is_repeatable(method: &Method, said_so: bool) -> bool {
    said_so || method.is_idempotent()
}

/// Whether a call over HTTP that failed like this may be tried again.
pub fn is_retryable(failure: &Failure, repeatable: bool) -> bool {
    match failure.reason() {
        // A policy of ours refused it before it left: asking again at once changes nothing.
        Reason::Overloaded if !failure.was_sent() => false,
        Reason::Overloaded => repeatable && failure.retry_after().is_some(),
        Reason::Unavailable => repeatable || !failure.was_sent(),
        Reason::Timeout => repeatable,
        Reason::BadResponse => repeatable && failure.upstream_status().is_none_or(is_transient),
        Reason::Deadline
        | Reason::CircuitOpen
        | Reason::NoInstance
        | Reason::NotFound
        | Reason::Forbidden
        | Reason::SwitchedOff => false,
    }
}

/// The same over gRPC, where only `UNAVAILABLE` says that trying again is sane (gRFC A6).
pub fn is_retryable_grpc(failure: &Failure, repeatable: bool) -> bool {
    failure.reason() == Reason::Unavailable && is_retryable(failure, repeatable)
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const EVERY: [Reason; 10] = [
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

    fn failure(reason: Reason, status: u16, asked: bool, sent: bool) -> Failure {
        let failure =
            Failure::new(reason).with_retry_after(asked.then_some(Duration::from_secs(1)));
        let failure = match StatusCode::from_u16(status) {
            Ok(status) => failure.with_response(status, bytes::Bytes::new()),
            Err(_) => failure,
        };
        if sent { failure } else { failure.not_sent() }
    }

    #[test]
    fn the_table_holds() {
        for (reason, status, again) in [
            (Reason::Timeout, 0, true),
            (Reason::Unavailable, 0, true),
            (Reason::Unavailable, 503, true),
            (Reason::BadResponse, 0, true),
            (Reason::BadResponse, 500, true),
            (Reason::BadResponse, 502, true),
            (Reason::BadResponse, 504, true),
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
            assert_eq!(is_retryable(&failure, true), again, "{reason:?} {status}");
            assert!(!is_retryable(&failure, false), "{reason:?} {status}");
        }
    }

    #[test]
    fn what_never_left_is_tried_again_whatever_the_method() {
        let refused = failure(Reason::Unavailable, 0, false, false);
        assert!(is_retryable(&refused, false));
        assert!(is_retryable_grpc(&refused, false));
    }

    #[test]
    fn a_busy_backend_is_asked_again_only_when_it_says_when() {
        assert!(is_retryable(
            &failure(Reason::Overloaded, 429, true, true),
            true
        ));
        assert!(!is_retryable(
            &failure(Reason::Overloaded, 429, false, true),
            true
        ));
        let full = failure(Reason::Overloaded, 0, true, false);
        assert!(!is_retryable(&full, true), "our own bulkhead");
    }

    #[test]
    fn a_key_makes_a_write_repeatable() {
        assert!(is_repeatable(&Method::GET, false));
        assert!(is_repeatable(&Method::PUT, false));
        assert!(!is_repeatable(&Method::POST, false));
        assert!(!is_repeatable(&Method::PATCH, false));
        assert!(is_repeatable(&Method::POST, true));
    }

    #[test]
    fn grpc_repeats_what_is_unavailable_and_nothing_else() {
        for reason in EVERY {
            let failed = failure(reason, 0, true, true);
            let again = is_retryable_grpc(&failed, true);
            assert_eq!(again, reason == Reason::Unavailable, "{reason:?}");
        }
    }

    proptest! {
        #[test]
        fn what_may_have_happened_is_never_repeated_without_a_key(
            reason in prop::sample::select(&EVERY[..]),
            status in 0_u16..600,
            asked: bool,
        ) {
            let failure = failure(reason, status, asked, true);
            prop_assert!(!is_retryable(&failure, false));
            prop_assert!(!is_retryable_grpc(&failure, false));
        }
    }
}
