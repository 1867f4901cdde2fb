//! Bearer tokens (RFC 6750): one signature check per token, not per request.

use std::sync::Arc;

use tokio::time::Instant;

use super::AuthError;
use super::claims::{Claims, Expected};
use super::config::Config;
use super::jwks::{Algorithm, Jwks};
use super::token::Token;
use super::token_cache::VerifiedTokenCache;
use bff_context::error::Error;
use bff_context::scope::Caller;
use bff_upstream::discovery::InitialResolution;
use bff_upstream::outbound::GatewayHandles;
use bff_upstream::outbound::Reason;

/// What verifies the tokens of one issuer.
#[derive(Debug)]
pub(super) struct Bearer {
    shared: Arc<GatewayHandles>,
    expected: Expected,
    algorithms: Vec<Algorithm>,
    token_type: String,
    keys: Jwks,
    remembered: VerifiedTokenCache,
}

impl Bearer {
    /// What `config` asks for: nothing without an issuer.
    pub(super) fn new(
        config: &Config,
        shared: &Arc<GatewayHandles>,
    ) -> Result<Option<Self>, String> {
        let Some(issuer) = config.issuer.as_deref().filter(|i| !i.is_empty()) else {
            return match (&config.audience, &config.jwks) {
                (None, None) => Ok(None),
                _ => Err("issuer is missing: tokens of any issuer would be nobody's".to_owned()),
            };
        };
        let audience = config.audience.as_deref().filter(|a| !a.is_empty());
        let audience = audience.ok_or("audience is missing: it goes with issuer")?;
        let backend = config.jwks.as_ref();
        let backend = backend.ok_or("keys.url is missing: it goes with issuer")?;
        if config.algorithms.is_empty() {
            return Err("algorithms is empty: no token could ever be verified".to_owned());
        }
        if config.token_type.is_empty() {
            return Err(
                "token_type is empty: an ID token would pass for an access token".to_owned(),
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
            remembered: VerifiedTokenCache::new(config.token_cache_size, &shared.env),
        }))
    }

    /// The first answer about where the keys are.
    pub(super) fn first(&self) -> InitialResolution {
        self.keys.first()
    }

    /// What is wrong at the moment with where the keys are.
    pub(super) fn trouble(&self) -> Option<Reason> {
        self.keys.trouble()
    }

    /// The caller `sent` names, if it was verified before; without waiting.
    fn cached(&self, sent: &[u8]) -> Option<Caller> {
        let generation = self.keys.generation()?;
        let now = self.shared.env.unix_seconds();
        self.remembered.get(sent, now, generation)
    }

    /// The caller `sent` names. Waits for keys at most until `deadline`, and only when they are not there.
    pub(super) async fn verify(&self, sent: &[u8], deadline: Instant) -> Result<Caller, Error> {
        if let Some(caller) = self.cached(sent) {
            return Ok(caller);
        }
        let token = Token::parse(sent, &self.algorithms)?;
        token.is_a(&self.token_type)?;
        let found = self
            .keys
            .find(&token.kid, token.algorithm, deadline)
            .await?;
        let claims = Claims(token.verify(&found.key)?);
        // Time may have passed while keys were fetched.
        let now = self.shared.env.unix_seconds();
        let expires = claims.check(&self.expected, now)?;
        let caller = Caller::new(claims.identity()?).map_err(AuthError::Identity)?;
        // Within the leeway past its end a token still counts, but is checked each time.
        if now < expires {
            let caller = caller.clone();
            self.remembered.put(sent, caller, expires, found.generation);
        }
        Ok(caller)
    }
}
