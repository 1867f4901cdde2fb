//! The stored form of an error: a retry of a failed write gets the same response again.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Code, Error, FieldError, Step, codes};

/// The parts of an error that its client received, without the parts of a single request.
#[derive(Debug, Deserialize, Serialize)]
pub struct StoredError {
    code: String,
    detail: String,
    retry_after: Option<Duration>,
    field_errors: Vec<FieldError>,
    steps: Vec<Step>,
}

impl StoredError {
    /// The stored form of an error.
    pub fn of(error: &Error) -> Self {
        Self {
            code: error.code().name().to_owned(),
            detail: error.detail().to_owned(),
            retry_after: error.0.retry_after,
            field_errors: error.0.field_errors.clone(),
            steps: error.0.steps.clone(),
        }
    }

    /// Restores the error. `None` if its code is neither in the core nor in `domain_codes`, as after a new release.
    pub fn restore(self, domain_codes: &[Code]) -> Option<Error> {
        let mut all_codes = codes::ALL.iter().chain(domain_codes);
        let code = *all_codes.find(|code| code.name() == self.code)?;
        let mut error =
            Error::new(code, Cow::Owned(self.detail)).with_retry_after(self.retry_after);
        let inner = error.inner_mut();
        (inner.field_errors, inner.steps) = (self.field_errors, self.steps);
        Some(error.with_cause("replayed for a repeated Idempotency-Key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_restored_as_it_was() {
        const SOLD_OUT: Code = Code::new("sold_out", 409, "Sold out", "There is no more.", "None.");
        let pointer = FieldError {
            pointer: "/a".into(),
            detail: "wrong".into(),
        };
        let mut error =
            Error::new(SOLD_OUT, "No more.").with_retry_after(Some(Duration::from_secs(7)));
        error.inner_mut().field_errors = vec![pointer];
        let error = error.with_steps(vec![("a".into(), "made".into())]);
        let bytes = serde_json::to_vec(&StoredError::of(&error)).unwrap();
        let stored = || serde_json::from_slice::<StoredError>(&bytes).unwrap();
        let restored = stored().restore(&[SOLD_OUT]).unwrap();
        assert_eq!(restored.problem("", "/", "r"), error.problem("", "/", "r"));
        assert_eq!(restored.retry_hint(), error.retry_hint());
        assert!(stored().restore(&[]).is_none());
    }
}
