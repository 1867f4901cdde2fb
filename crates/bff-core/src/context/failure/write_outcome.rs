//! What is known of a write that failed: that it was refused, or nothing.

use std::time::Duration;

use http::StatusCode;

use super::Failure;
use crate::error::{Error, codes};

impl Failure {
    /// Whether what was asked may have been done: it was sent, and not clearly refused.
    pub(crate) fn may_have_been_applied(&self) -> bool {
        let unavailable = |s: StatusCode| s == StatusCode::SERVICE_UNAVAILABLE;
        let refused = |s: StatusCode| s.is_client_error() || unavailable(s);
        if self.perhaps_done {
            !self.is_definitive_rejection()
        } else {
            self.sent && !self.status.is_some_and(refused)
        }
    }

    /// Whether it judges what was asked: 402 or 422, or a refusal in a domain's own words. Any other one is of one request
    /// alone, for it may come of the way there, and says nothing of an earlier request for the same.
    pub(crate) fn is_definitive_rejection(&self) -> bool {
        let judged = |s: StatusCode| matches!(s.as_u16(), 402 | 422);
        let own = |e: &Error| e.status().is_client_error();
        self.status.is_some_and(judged) || self.outside.as_ref().is_some_and(own)
    }

    /// The failure of the last attempt when an earlier one is uncertain: only a verdict settles it.
    #[must_use]
    pub(crate) fn after_uncertain_attempt(mut self) -> Self {
        self.perhaps_done = true;
        self
    }

    /// A write that may have happened: its outcome is unknown, whatever was answered last.
    #[must_use]
    pub(crate) fn for_write(self, write: bool) -> Self {
        if write && self.may_have_been_applied() {
            self.into_outcome_unknown()
        } else {
            self
        }
    }

    /// What could not be learned leaves it open whether a write happened.
    #[must_use]
    pub fn into_outcome_unknown(mut self) -> Self {
        // A typed client would tell a refusal by it.
        self.status = None;
        self.with_public_error(unknown())
    }

    /// Nobody knows whether a write happened.
    pub(crate) fn unknown() -> Self {
        Self::from(unknown())
    }
}

fn unknown() -> Error {
    let detail = "It may have happened. Repeat it with the same Idempotency-Key to learn.";
    Error::new(codes::OUTCOME_UNKNOWN, detail).with_retry_after(Some(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::outbound::Reason;

    fn answered(status: u16) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        Failure::new(Reason::BadResponse).with_response(status, Bytes::new())
    }

    #[test]
    fn a_refusal_settles_its_own_attempt_and_only_a_verdict_an_earlier_one() {
        for status in [402, 403, 404, 409, 418, 422, 429, 503] {
            assert!(!answered(status).may_have_been_applied(), "{status}");
            let failure = answered(status).after_uncertain_attempt().for_write(true);
            let unknown = failure.error().code() == codes::OUTCOME_UNKNOWN;
            assert_eq!(unknown, !matches!(status, 402 | 422), "{status}");
        }
        assert!(answered(500).may_have_been_applied());
        let unsent = Failure::new(Reason::CircuitOpen).not_sent();
        assert!(!unsent.may_have_been_applied());
        assert!(unsent.after_uncertain_attempt().may_have_been_applied());
    }

    #[test]
    fn a_read_that_is_refused_in_the_end_is_refused() {
        let failure = answered(404).after_uncertain_attempt().for_write(false);
        assert_eq!(failure.upstream_status(), Some(StatusCode::NOT_FOUND));
    }
}
