//! Why a credential is not believed: in full for the log, in one sentence for the client.

use bff_context::error::{Error, codes};

/// Why a credential is not believed. No variant holds any part of a secret or a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthError {
    #[error("more than one credential was sent")]
    Several,
    #[error("the Authorization header is not `Bearer <token>`")]
    Scheme,
    #[error("{0} are switched off here")]
    Disabled(&'static str),
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    #[error("the token's typ is not auth.token_type")]
    Type,
    #[error("the token's alg is not one of auth.algorithms")]
    Algorithm,
    #[error("the token's alg is not that of the key {0:?}")]
    AlgorithmOfKey(Box<str>),
    #[error("the issuer has no key {0:?}")]
    UnknownKey(Box<str>),
    #[error("the token's signature does not verify")]
    Signature,
    #[error("the token's iss is not auth.issuer")]
    Issuer,
    #[error("the token's aud does not name auth.audience")]
    Audience,
    #[error("the token expired {0} s ago")]
    Expired(u64),
    #[error("the token is valid in {0} s, not yet")]
    NotYet(u64),
    #[error("the token was issued {0} s in the future")]
    IssuedAhead(u64),
    #[error("the token has no {0}")]
    NoClaim(&'static str),
    #[error("the token's {0} is not {1}")]
    Claim(&'static str, &'static str),
    #[error("the token's sub cannot be sent on: {0}")]
    Identity(&'static str),
    #[error("the API key is not bffp_<id>_<secret>")]
    MalformedKey,
    #[error("there is no API key {0:?}")]
    KeyUnknown(Box<str>),
    #[error("the secret of API key {0:?} is wrong")]
    KeySecret(Box<str>),
    #[error("API key {0:?} is disabled")]
    KeyDisabled(Box<str>),
}

impl From<AuthError> for Error {
    /// 401 with the same words for every reason but one, so that guessing teaches nothing.
    fn from(refusal: AuthError) -> Self {
        let detail = match refusal {
            AuthError::Several => "Send one credential, not several.",
            _ => "The credential that came with the request is not valid.",
        };
        let error = Error::new(codes::UNAUTHENTICATED, detail);
        let error = if refusal.is_of_a_token() {
            error.invalid_token()
        } else {
            error
        };
        error.with_cause(refusal)
    }
}

impl AuthError {
    /// Whether one token was read and not believed. An unknown scheme is as good as none (RFC 6750 §3.1).
    fn is_of_a_token(&self) -> bool {
        !matches!(
            self,
            Self::Several
                | Self::Scheme
                | Self::Disabled(_)
                | Self::MalformedKey
                | Self::KeyUnknown(_)
                | Self::KeySecret(_)
                | Self::KeyDisabled(_)
        )
    }
}
