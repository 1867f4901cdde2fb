//! What one attempt says about the health of whoever answered it, which is not whether the client is content.

use super::{Failure, Reason};

/// What an attempt says about its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It does its work: it answered, be it that there is nothing or that the caller may not see it.
    Good,
    /// It does not: too late, unreachable, 5xx, or an answer that cannot be used.
    Bad,
    /// It says nothing: our own mistake (other 4xx), told to slow down (429), or never asked.
    Neutral,
    /// The request's time ran out first. Against the backend only if it had the time of a slow call, or a
    /// backend that hangs would go unnoticed wherever deadlines are shorter than the attempt timeout.
    Cut,
}

impl Outcome {
    /// What a failed attempt says.
    pub fn of(failure: &Failure) -> Self {
        match failure.reason() {
            Reason::NotFound | Reason::Forbidden => Self::Good,
            Reason::BadResponse if failure.answered().is_some_and(|s| s.is_client_error()) => {
                Self::Neutral
            }
            Reason::Timeout | Reason::Unavailable | Reason::BadResponse => Self::Bad,
            Reason::Deadline => Self::Cut,
            Reason::Overloaded | Reason::CircuitOpen | Reason::NoInstance | Reason::SwitchedOff => {
                Self::Neutral
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
            Outcome::of(&Failure::new(reason).answer(status, bytes::Bytes::new()))
        };
        assert_eq!(answered(Reason::NotFound, 404), Outcome::Good);
        assert_eq!(answered(Reason::Forbidden, 403), Outcome::Good);
        assert_eq!(answered(Reason::BadResponse, 422), Outcome::Neutral);
        assert_eq!(answered(Reason::Overloaded, 429), Outcome::Neutral);
        assert_eq!(answered(Reason::BadResponse, 500), Outcome::Bad);
        assert_eq!(answered(Reason::Unavailable, 503), Outcome::Bad);
    }

    #[test]
    fn silence_and_junk_are_held_against_it() {
        for (reason, outcome) in [
            (Reason::Timeout, Outcome::Bad),
            (Reason::Unavailable, Outcome::Bad),
            (Reason::BadResponse, Outcome::Bad),
            (Reason::Deadline, Outcome::Cut),
            (Reason::CircuitOpen, Outcome::Neutral),
            (Reason::NoInstance, Outcome::Neutral),
        ] {
            assert_eq!(Outcome::of(&Failure::new(reason)), outcome, "{reason:?}");
        }
    }
}
