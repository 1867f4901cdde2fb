//! A refusal as it is kept, so that who repeats a write that was refused is told the same.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Code, Error, FieldError, Step, codes};

/// What of an error its client saw, but for what belongs to one request alone.
#[derive(Debug, Deserialize, Serialize)]
pub struct StoredError {
    code: String,
    detail: String,
    retry_after: Option<Duration>,
    pointers: Vec<FieldError>,
    steps: Vec<Step>,
}

impl StoredError {
    /// An error to keep.
    pub fn of(error: &Error) -> Self {
        Self {
            code: error.code().name().to_owned(),
            detail: error.detail().to_owned(),
            retry_after: error.0.retry_after,
            pointers: error.0.pointers.clone(),
            steps: error.0.steps.clone(),
        }
    }

    /// The error again. None when its code is neither the core's nor among `own`: another release's.
    pub fn restore(self, own: &[Code]) -> Option<Error> {
        let mut known = codes::ALL.iter().chain(own);
        let code = *known.find(|code| code.name() == self.code)?;
        let mut error =
            Error::new(code, Cow::Owned(self.detail)).with_retry_after(self.retry_after);
        let inner = error.edit();
        (inner.pointers, inner.steps) = (self.pointers, self.steps);
        Some(error.with_cause("told again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_again_as_it_was() {
        const OWN: Code = Code::new("sold_out", 409, "Sold out", "There is no more.", "Nobody.");
        let pointer = FieldError {
            pointer: "/a".into(),
            detail: "wrong".into(),
        };
        let mut error = Error::new(OWN, "No more.").with_retry_after(Some(Duration::from_secs(7)));
        error.edit().pointers = vec![pointer];
        let error = error.with_steps(vec![("a".into(), "made".into())]);
        let kept = serde_json::to_vec(&StoredError::of(&error)).unwrap();
        let read = || serde_json::from_slice::<StoredError>(&kept).unwrap();
        let again = read().restore(&[OWN]).unwrap();
        assert_eq!(again.problem("", "/", "r"), error.problem("", "/", "r"));
        assert_eq!(again.retry_hint(), error.retry_hint());
        assert!(read().restore(&[]).is_none());
    }
}
