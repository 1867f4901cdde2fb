//! The outcome of a failed write: definitely rejected, or unknown.

use std::time::Duration;

use http::StatusCode;

use super::Failure;
use crate::error::{Error, codes};

impl Failure {
    /// Whether the backend may have applied the write: the request was sent, and the response is not a clear rejection.
    pub fn may_have_been_applied(&self) -> bool {
        let unavailable = |s: StatusCode| s == StatusCode::SERVICE_UNAVAILABLE;
        let rejected = |s: StatusCode| s.is_client_error() || unavailable(s);
        if self.earlier_attempt_uncertain {
            !self.is_definitive_rejection()
        } else {
            self.sent && !self.status.is_some_and(rejected)
        }
    }

    /// Whether the response is a definitive rejection of this operation: 402, 422 or a domain error.
    ///
    /// Any other failure may come from a gateway on the way. It says nothing about earlier attempts.
    pub fn is_definitive_rejection(&self) -> bool {
        let definitive = |s: StatusCode| matches!(s.as_u16(), 402 | 422);
        let domain_error = |e: &Error| e.status().is_client_error();
        self.status.is_some_and(definitive) || self.public_error.as_ref().is_some_and(domain_error)
    }

    /// Marks the failure as one after an uncertain attempt. Only a definitive rejection then settles the outcome.
    #[must_use]
    pub fn after_uncertain_attempt(mut self) -> Self {
        self.earlier_attempt_uncertain = true;
        self
    }

    /// Changes the failure to `outcome_unknown` if it is of a write that may have been applied.
    #[must_use]
    pub fn for_write(self, write: bool) -> Self {
        if write && self.may_have_been_applied() {
            self.into_outcome_unknown()
        } else {
            self
        }
    }

    /// Changes the failure to `outcome_unknown`.
    #[must_use]
    pub fn into_outcome_unknown(mut self) -> Self {
        // A typed client would take a 4xx status for a rejection.
        self.status = None;
        self.with_public_error(outcome_unknown())
    }

    /// Creates the failure of a write whose outcome is unknown.
    pub fn outcome_unknown() -> Self {
        Self::from(outcome_unknown())
    }
}

fn outcome_unknown() -> Error {
    let detail = "The request may have been executed. Repeat it with the same Idempotency-Key to learn its outcome.";
    Error::new(codes::OUTCOME_UNKNOWN, detail).with_retry_after(Some(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::context::Reason;

    fn failed_with(status: u16) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        Failure::new(Reason::BadResponse).with_response(status, Bytes::new())
    }

    #[test]
    fn only_a_definitive_rejection_settles_an_earlier_attempt() {
        for status in [402, 403, 404, 409, 418, 422, 429, 503] {
            assert!(!failed_with(status).may_have_been_applied(), "{status}");
            let failure = failed_with(status)
                .after_uncertain_attempt()
                .for_write(true);
            let unknown = failure.error().code() == codes::OUTCOME_UNKNOWN;
            assert_eq!(unknown, !matches!(status, 402 | 422), "{status}");
        }
        assert!(failed_with(500).may_have_been_applied());
        let unsent = Failure::new(Reason::CircuitOpen).not_sent();
        assert!(!unsent.may_have_been_applied());
        assert!(unsent.after_uncertain_attempt().may_have_been_applied());
    }

    #[test]
    fn a_read_reports_the_status_of_its_last_attempt() {
        let failure = failed_with(404).after_uncertain_attempt().for_write(false);
        assert_eq!(failure.upstream_status(), Some(StatusCode::NOT_FOUND));
    }
}
