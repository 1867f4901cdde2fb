//! What one attempt says about the health of whoever answered it, which is not whether the client is content.

use super::{Failure, Reason};

/// What an attempt says about its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It does its work: it answered, be it that there is nothing or that the caller may not see it.
    Success,
    /// It does not: too late, unreachable, 5xx, or an answer that cannot be used.
    Failure,
    /// It says nothing: our own mistake (other 4xx), told to slow down (429), or never asked.
    Ignored,
    /// The request's time ran out first. Against the backend only if it had the time of a slow call, or a
    /// backend that hangs would go unnoticed wherever deadlines are shorter than the attempt timeout.
    DeadlineExceeded,
}

impl AttemptOutcome {
    /// What a failed attempt says.
    pub fn of(failure: &Failure) -> Self {
        match failure.reason() {
            Reason::NotFound | Reason::Forbidden => Self::Success,
            Reason::BadResponse
                if failure
                    .upstream_status()
                    .is_some_and(|s| s.is_client_error()) =>
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
    fn a_refusal_of_ours_is_not_held_against_a_backend() {
        let answered = |reason, status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            AttemptOutcome::of(&Failure::new(reason).with_response(status, bytes::Bytes::new()))
        };
        assert_eq!(answered(Reason::NotFound, 404), AttemptOutcome::Success);
        assert_eq!(answered(Reason::Forbidden, 403), AttemptOutcome::Success);
        assert_eq!(answered(Reason::BadResponse, 422), AttemptOutcome::Ignored);
        assert_eq!(answered(Reason::Overloaded, 429), AttemptOutcome::Ignored);
        assert_eq!(answered(Reason::BadResponse, 500), AttemptOutcome::Failure);
        assert_eq!(answered(Reason::Unavailable, 503), AttemptOutcome::Failure);
    }

    #[test]
    fn silence_and_junk_are_held_against_it() {
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
