//! The reasons why a credential is rejected: the exact reason for the log, one general text for the client.

use bff_context::error::{Error, codes};

/// The reason why a credential is rejected. No variant contains a part of a secret or a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthError {
    #[error("more than one credential was sent")]
    MultipleCredentials,
    #[error("the Authorization header is not `Bearer <token>`")]
    InvalidScheme,
    #[error("{0} are disabled here")]
    Disabled(&'static str),
    #[error("the token is malformed: {0}")]
    MalformedToken(&'static str),
    #[error("the token's typ is not auth.token_type")]
    TokenType,
    #[error("the token's alg is not one of auth.algorithms")]
    Algorithm,
    #[error("the token's alg is not that of the key {0:?}")]
    KeyAlgorithm(Box<str>),
    #[error("the issuer has no key {0:?}")]
    UnknownJwk(Box<str>),
    #[error("the token's signature does not verify")]
    Signature,
    #[error("the token's iss is not auth.issuer")]
    Issuer,
    #[error("the token's aud does not name auth.audience")]
    Audience,
    #[error("the token expired {0} s ago")]
    Expired(u64),
    #[error("the token is valid in {0} s, not yet")]
    NotYetValid(u64),
    #[error("the token was issued {0} s in the future")]
    IssuedInFuture(u64),
    #[error("the token has no {0}")]
    MissingClaim(&'static str),
    #[error("the token's {0} is not {1}")]
    InvalidClaim(&'static str, &'static str),
    #[error("the token's sub cannot be sent to backends: {0}")]
    Identity(&'static str),
    #[error("the API key is not bffp_<id>_<secret>")]
    MalformedApiKey,
    #[error("there is no API key {0:?}")]
    UnknownApiKey(Box<str>),
    #[error("the secret of API key {0:?} is wrong")]
    WrongApiKeySecret(Box<str>),
    #[error("API key {0:?} is disabled")]
    DisabledApiKey(Box<str>),
}

impl From<AuthError> for Error {
    /// 401. All reasons but one have the same text, so an attacker learns nothing from it.
    fn from(reason: AuthError) -> Self {
        let detail = match reason {
            AuthError::MultipleCredentials => "Send one credential, not several.",
            _ => "The credential of the request is not valid.",
        };
        let error = Error::new(codes::UNAUTHENTICATED, detail);
        let error = if reason.is_invalid_token() {
            error.invalid_token()
        } else {
            error
        };
        error.with_cause(reason)
    }
}

impl AuthError {
    /// Whether the request had one bearer token, which is invalid. Another scheme counts as no token (RFC 6750 §3.1).
    fn is_invalid_token(&self) -> bool {
        !matches!(
            self,
            Self::MultipleCredentials
                | Self::InvalidScheme
                | Self::Disabled(_)
                | Self::MalformedApiKey
                | Self::UnknownApiKey(_)
                | Self::WrongApiKeySecret(_)
                | Self::DisabledApiKey(_)
        )
    }
}
