//! Verifies bearer tokens (RFC 6750). Each token's signature is checked once, not for each request.

use std::sync::Arc;

use tokio::time::Instant;

use super::AuthError;
use super::claims::{Claims, Expected};
use super::config::Config;
use super::jwks::{Algorithm, Jwks};
use super::token::Token;
use super::token_cache::VerifiedTokenCache;
use bff_context::context::Reason;
use bff_context::error::Error;
use bff_context::scope::Caller;
use bff_upstream::GatewayHandles;
use bff_upstream::endpoints::discovery::InitialResolution;

/// Verifies the tokens of one issuer.
#[derive(Debug)]
pub(super) struct Bearer {
    shared: Arc<GatewayHandles>,
    expected: Expected,
    algorithms: Vec<Algorithm>,
    token_type: String,
    keys: Jwks,
    verified_tokens: VerifiedTokenCache,
}

impl Bearer {
    /// The verifier for `config`; `None` without an issuer. The error is one line.
    pub(super) fn new(
        config: &Config,
        shared: &Arc<GatewayHandles>,
    ) -> Result<Option<Self>, String> {
        let Some(issuer) = config.issuer.as_deref().filter(|i| !i.is_empty()) else {
            return match (&config.audience, &config.jwks) {
                (None, None) => Ok(None),
                _ => Err("issuer is missing: audience and jwks need it".to_owned()),
            };
        };
        let audience = config.audience.as_deref().filter(|a| !a.is_empty());
        let audience = audience.ok_or("audience is missing: issuer needs it")?;
        let backend = config.jwks.as_ref();
        let backend = backend.ok_or("jwks.url is missing: issuer needs it")?;
        if config.algorithms.is_empty() {
            return Err("algorithms is empty: no token can be verified".to_owned());
        }
        if config.token_type.is_empty() {
            return Err(
                "token_type is empty: an ID token would be accepted as an access token".to_owned(),
            );
        }
        Ok(Some(Self {
            shared: shared.clone(),
            expected: Expected {
                issuer: issuer.to_owned(),
                audience: audience.to_owned(),
                leeway: config.leeway.as_secs(),
            },
            algorithms: config.algorithms.clone(),
            token_type: config.token_type.clone(),
            keys: Jwks::new(config, backend, shared)?,
            verified_tokens: VerifiedTokenCache::new(config.token_cache_size, &shared.env),
        }))
    }

    /// The first service discovery result for the JWKS backend.
    pub(super) fn initial_discovery(&self) -> InitialResolution {
        self.keys.initial_discovery()
    }

    /// The reason why the JWKS backend is unhealthy now, if it is.
    pub(super) fn unhealthy_reason(&self) -> Option<Reason> {
        self.keys.unhealthy_reason()
    }

    /// The caller of `token`, if the token was verified before.
    fn cached(&self, token: &[u8]) -> Option<Caller> {
        let generation = self.keys.generation()?;
        let now = self.shared.env.unix_seconds();
        self.verified_tokens.get(token, now, generation)
    }

    /// The caller of the token in `text`. It waits for the keys only if they are missing, up to `deadline`.
    pub(super) async fn verify(&self, text: &[u8], deadline: Instant) -> Result<Caller, Error> {
        if let Some(caller) = self.cached(text) {
            return Ok(caller);
        }
        let token = Token::parse(text, &self.algorithms)?;
        token.check_type(&self.token_type)?;
        let key = self
            .keys
            .find(&token.kid, token.algorithm, deadline)
            .await?;
        let claims = Claims(token.verify(&key.key)?);
        // The time is read after the keys were fetched.
        let now = self.shared.env.unix_seconds();
        let expires = claims.check(&self.expected, now)?;
        let caller = Caller::new(claims.identity()?).map_err(AuthError::Identity)?;
        // A token within the leeway after its expiry is valid, but not cached.
        if now < expires {
            let caller = caller.clone();
            self.verified_tokens
                .put(text, caller, expires, key.generation);
        }
        Ok(caller)
    }
}
