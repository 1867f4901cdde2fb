//! Refusals of a write that its caller can mend, told in the backend's own words.

use bff_core::outbound::Failure;
use bff_core::{Code, Error};

/// Tells a refusal with `status` as `code`; every other outcome stays what it is.
///
/// The backend's own text stays inside: it may quote what was sent.
pub(crate) fn told<T>(outcome: Result<T, Failure>, status: u16, code: Code) -> Result<T, Failure> {
    outcome.map_err(|failure| {
        if failure.answered().is_some_and(|s| s.as_u16() == status) {
            let error = Error::new(code, code.meaning())
                .because(format_args!("{} answered {status}", failure.source()));
            failure.told_as(error)
        } else {
            failure
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bff_core::Reason;
    use bff_core::error::codes;

    #[test]
    fn what_the_backend_did_not_refuse_stays_what_it_is() {
        let outcome: Result<(), _> = Err(Failure::new(Reason::Timeout));
        let failure = told(outcome, 409, codes::IN_PROGRESS).unwrap_err();
        assert_eq!(failure.error().code(), codes::TIMEOUT);
        assert!(told(Ok(()), 409, codes::IN_PROGRESS).is_ok());
    }
}
