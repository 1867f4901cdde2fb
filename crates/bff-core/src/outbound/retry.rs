//! Which failures may be tried again. Whether there is time and budget for it is asked elsewhere.
//!
//! | failure | tried again |
//! |---|---|
//! | the request never left | always, whatever the method |
//! | timeout; reset; 500, 502, 503, 504; a body cut short or not decodable | if repeating it is harmless |
//! | 429 | the same, and only if the backend says when |
//! | any other answer; the request's own time is up; refused by a policy of ours | never |

use std::num::NonZeroU32;

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
    pub fn has_more(&self, attempts: u32) -> bool {
        attempts < self.max_attempts.get()
    }
}

/// Whether doing it twice is doing it once: RFC 9110 §9.2.2, or the call says so, or has a key by which the backend knows the
/// repetition.
pub fn is_repeatable(method: &Method, said_so: bool) -> bool {
    said_so || method.is_idempotent()
}

/// Whether a call over HTTP that failed like this may be tried again.
pub fn is_worth_it(failure: &Failure, repeatable: bool) -> bool {
    match failure.reason() {
        // A policy of ours refused it before it left: asking again at once changes nothing.
        Reason::Overloaded if !failure.was_sent() => false,
        Reason::Overloaded => repeatable && failure.retry_hint().is_some(),
        Reason::Unavailable => repeatable || !failure.was_sent(),
        Reason::Timeout => repeatable,
        Reason::BadResponse => repeatable && failure.answered().is_none_or(is_mishap),
        Reason::Deadline
        | Reason::CircuitOpen
        | Reason::NoInstance
        | Reason::NotFound
        | Reason::Forbidden
        | Reason::SwitchedOff => false,
    }
}

/// The same over gRPC, where only `UNAVAILABLE` says that trying again is sane (gRFC A6).
pub fn is_worth_it_over_grpc(failure: &Failure, repeatable: bool) -> bool {
    failure.reason() == Reason::Unavailable && is_worth_it(failure, repeatable)
}

fn is_mishap(status: StatusCode) -> bool {
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
        let failure = Failure::new(reason).retry_after(asked.then_some(Duration::from_secs(1)));
        let failure = match StatusCode::from_u16(status) {
            Ok(status) => failure.answer(status, bytes::Bytes::new()),
            Err(_) => failure,
        };
        if sent { failure } else { failure.unsent() }
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
            assert_eq!(is_worth_it(&failure, true), again, "{reason:?} {status}");
            assert!(!is_worth_it(&failure, false), "{reason:?} {status}");
        }
    }

    #[test]
    fn what_never_left_is_tried_again_whatever_the_method() {
        let refused = failure(Reason::Unavailable, 0, false, false);
        assert!(is_worth_it(&refused, false));
        assert!(is_worth_it_over_grpc(&refused, false));
    }

    #[test]
    fn a_busy_backend_is_asked_again_only_when_it_says_when() {
        assert!(is_worth_it(
            &failure(Reason::Overloaded, 429, true, true),
            true
        ));
        assert!(!is_worth_it(
            &failure(Reason::Overloaded, 429, false, true),
            true
        ));
        let full = failure(Reason::Overloaded, 0, true, false);
        assert!(!is_worth_it(&full, true), "our own bulkhead");
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
            let again = is_worth_it_over_grpc(&failed, true);
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
            prop_assert!(!is_worth_it(&failure, false));
            prop_assert!(!is_worth_it_over_grpc(&failure, false));
        }
    }
}
