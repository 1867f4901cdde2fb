//! The outcome of an attempt as a sign of the backend's health. It differs from the result for the client.

use bff_context::context::{Failure, Reason};

/// The meaning of an attempt for its backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The backend responded as it should, including 404 and 403.
    Success,
    /// The backend timed out, was unreachable, or sent a 5xx or an invalid response.
    Failure,
    /// No sign of the backend's health: another 4xx (our own mistake), a 429, a 2xx with undecodable data of one
    /// resource, or a request that was not sent.
    Ignored,
    /// The request's deadline was exceeded first. This counts against the backend only after the time of a slow call.
    /// Otherwise a hanging backend would go unnoticed where deadlines are shorter than the attempt timeout.
    DeadlineExceeded,
}

impl AttemptOutcome {
    /// The outcome of a failed attempt.
    pub fn of(failure: &Failure) -> Self {
        match failure.reason() {
            Reason::NotFound | Reason::Forbidden => Self::Success,
            Reason::BadResponse
                if failure
                    .upstream_status()
                    .is_some_and(|s| s.is_client_error() || s.is_success()) =>
            {
                Self::Ignored
            }
            Reason::Timeout | Reason::Unavailable | Reason::BadResponse => Self::Failure,
            Reason::Deadline => Self::DeadlineExceeded,
            Reason::Overloaded | Reason::CircuitOpen | Reason::NoInstance | Reason::SwitchedOff => {
                Self::Ignored
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn client_errors_do_not_count_against_the_backend() {
        let outcome = |reason, status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            AttemptOutcome::of(&Failure::new(reason).with_response(status, bytes::Bytes::new()))
        };
        assert_eq!(outcome(Reason::NotFound, 404), AttemptOutcome::Success);
        assert_eq!(outcome(Reason::Forbidden, 403), AttemptOutcome::Success);
        assert_eq!(outcome(Reason::BadResponse, 422), AttemptOutcome::Ignored);
        assert_eq!(outcome(Reason::BadResponse, 200), AttemptOutcome::Ignored);
        assert_eq!(outcome(Reason::Overloaded, 429), AttemptOutcome::Ignored);
        assert_eq!(outcome(Reason::BadResponse, 500), AttemptOutcome::Failure);
        assert_eq!(outcome(Reason::Unavailable, 503), AttemptOutcome::Failure);
    }

    #[test]
    fn timeouts_and_invalid_responses_count_against_the_backend() {
        for (reason, outcome) in [
            (Reason::Timeout, AttemptOutcome::Failure),
            (Reason::Unavailable, AttemptOutcome::Failure),
            (Reason::BadResponse, AttemptOutcome::Failure),
            (Reason::Deadline, AttemptOutcome::DeadlineExceeded),
            (Reason::CircuitOpen, AttemptOutcome::Ignored),
            (Reason::NoInstance, AttemptOutcome::Ignored),
        ] {
            assert_eq!(
                AttemptOutcome::of(&Failure::new(reason)),
                outcome,
                "{reason:?}"
            );
        }
    }
}
