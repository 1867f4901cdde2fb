//! Authentication: turns a bearer token of the issuer, or an API key, into a [`Caller`].
//!
//! - A request without a credential is anonymous.
//! - An invalid credential gets 401, also on endpoints that allow anonymous requests, so that the client notices it.
//! - If the issuer's keys are unavailable, a token gets 503: it can neither be accepted nor rejected.
//!
//! The crate knows no route and no middleware. Read this file first, then `bearer.rs` and `api_key.rs`.

use std::sync::Arc;

use http::{HeaderMap, header};
use tokio::time::Instant;

use api_key::ApiKeys;
use bearer::Bearer;
use bff_context::context::Reason;
use bff_context::context::RequestContext;
use bff_context::error::{Error, codes};
use bff_context::scope::Caller;
use bff_upstream::GatewayHandles;
use bff_upstream::endpoints::discovery::InitialResolution;
use challenge::Challenges;
use credential::Credential;
use error::AuthError;

pub use config::{ApiKey, Config};
pub use credential::X_API_KEY;
pub use jwks::Algorithm;

pub mod api_key;
mod bearer;
mod challenge;
mod claims;
mod config;
mod credential;
mod error;
mod jwks;
#[cfg(test)]
mod tests;
mod token;
mod token_cache;

/// Authenticates requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authenticator {
    bearer: Option<Arc<Bearer>>,
    api_keys: Arc<ApiKeys>,
    challenges: Arc<Challenges>,
}

impl Authenticator {
    /// An authenticator for the credentials in `config`. The error is one line that starts with the invalid key. This
    /// call fetches nothing.
    pub fn new(config: &Config, shared: &Arc<GatewayHandles>) -> Result<Self, String> {
        let bearer = Bearer::new(config, shared)?.map(Arc::new);
        let api_keys = ApiKeys::new(&config.api_keys)?;
        let challenges = Challenges::new(&shared.client, bearer.is_some(), !api_keys.is_empty())?;
        Ok(Self {
            bearer,
            api_keys,
            challenges: Arc::new(challenges),
        })
    }

    /// The first service discovery result for the JWKS backend. The start waits for it.
    pub fn initial_discovery(&self) -> Option<InitialResolution> {
        self.bearer
            .as_ref()
            .map(|bearer| bearer.initial_discovery())
    }

    /// The reason why the JWKS backend is unhealthy now, if it is.
    pub fn unhealthy_reason(&self) -> Option<Reason> {
        self.bearer
            .as_ref()
            .and_then(|bearer| bearer.unhealthy_reason())
    }

    /// Whether the request has a credential, valid or not.
    pub fn has_credential(headers: &HeaderMap) -> bool {
        headers.contains_key(header::AUTHORIZATION) || headers.contains_key(X_API_KEY)
    }

    /// The caller of a request; `None` if it has no credential.
    ///
    /// # Errors
    /// 401 for an invalid credential, 503 without the issuer's keys, 504 if the keys do not arrive by `deadline`.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        deadline: Instant,
    ) -> Result<Option<Caller>, Error> {
        let caller = match credential::find(headers)? {
            None => return Ok(None),
            Some(Credential::Bearer(token)) => match &self.bearer {
                Some(bearer) => bearer.verify(token, deadline).await?,
                None => return Err(AuthError::Disabled("bearer tokens").into()),
            },
            Some(Credential::ApiKey(_)) if self.api_keys.is_empty() => {
                return Err(AuthError::Disabled("API keys").into());
            }
            Some(Credential::ApiKey(key)) => self.api_keys.verify(key)?,
        };
        Ok(Some(caller))
    }

    /// Adds `WWW-Authenticate` challenges to a 401 response for `error`.
    pub fn challenge(&self, error: &Error, headers: &mut HeaderMap) {
        self.challenges.add(error.has_invalid_token(), headers);
    }
}

/// The caller of the request. It fails with 401 for an anonymous request, and with 403 for a caller without `role`.
pub fn require_role<'a>(cx: &'a RequestContext, role: &str) -> Result<&'a Caller, Error> {
    let caller = cx.require_caller()?;
    if caller.has_role(role) {
        return Ok(caller);
    }
    let error = Error::new(codes::FORBIDDEN, codes::FORBIDDEN.meaning());
    Err(error.with_cause(format_args!("the caller does not have the role {role}")))
}

/// Installs the crypto provider of this process, for TLS and for tokens. Every `main` and every test calls it first.
/// Further calls have no effect.
pub fn install_crypto() {
    bff_upstream::install_tls_provider();
    // An error means that a provider is already installed.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}
