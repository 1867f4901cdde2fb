//! Credentials: bearer tokens against a JWKS, API keys, and the challenge of a 401.
//!
//! It turns the headers of a request into a verified caller, and knows no route. It depends on `bff-upstream`, because the
//! keys of the issuer come from a backend. Read this file first, then `bearer.rs` and `api_key.rs`.

use std::sync::Arc;

use http::{HeaderMap, header};
use tokio::time::Instant;

use api_key::ApiKeys;
use bearer::Bearer;
use bff_context::context::RequestContext;
use bff_context::error::{Error, codes};
use bff_context::scope::Caller;
use bff_upstream::discovery::InitialResolution;
use bff_upstream::outbound::GatewayHandles;
use bff_upstream::outbound::Reason;
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

/// Turns credentials into callers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authenticator {
    bearer: Option<Arc<Bearer>>,
    api_keys: Arc<ApiKeys>,
    challenges: Arc<Challenges>,
}

impl Authenticator {
    /// What `config` accepts, or one line saying which of its keys is wrong. Nothing is fetched yet.
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

    /// The first answer about where the issuer's keys are, which start-up waits for.
    pub fn initial_discovery(&self) -> Option<InitialResolution> {
        self.bearer.as_ref().map(|bearer| bearer.first())
    }

    /// What is wrong at the moment with where the issuer's keys are, for operators.
    pub fn unhealthy_reason(&self) -> Option<Reason> {
        self.bearer.as_ref().and_then(|bearer| bearer.trouble())
    }

    /// Whether any credential came, good or bad: all that can be said of it without work.
    pub fn has_credential(headers: &HeaderMap) -> bool {
        headers.contains_key(header::AUTHORIZATION) || headers.contains_key(X_API_KEY)
    }

    /// Who sends `headers`: nobody, a caller, or an error (401; 503 without the issuer's keys; 504 past `deadline`).
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

    /// Adds to the 401 that `error` is which credentials count here.
    pub fn challenge(&self, error: &Error, headers: &mut HeaderMap) {
        self.challenges.add(error.refuses_a_token(), headers);
    }
}

/// Who asks, if they have `role`; else 401 for nobody and 403 for anybody else.
pub fn require_role<'a>(cx: &'a RequestContext, role: &str) -> Result<&'a Caller, Error> {
    let caller = cx.require_caller()?;
    if caller.has_role(role) {
        return Ok(caller);
    }
    let error = Error::new(codes::FORBIDDEN, codes::FORBIDDEN.meaning());
    Err(error.with_cause(format_args!("the caller does not have the role {role}")))
}

/// Chooses the crypto library of this process, for TLS and for tokens. Every `main` and every test calls it first;
/// calling it again changes nothing.
pub fn install_crypto() {
    bff_upstream::outbound::install_tls_provider();
    // An error says that one is installed already.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}
