//! The authentication settings of a gateway.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::jwks::Algorithm;
use bff_config::Secret;

/// The credentials that a gateway accepts: bearer tokens if `issuer` is set, API keys if `api_keys` is not empty.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The issuer of bearer tokens. It must equal the claim `iss` byte by byte (RFC 9068 §4). Default none: bearer
    /// tokens are disabled.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The audience that a token's `aud` must contain. Required with `issuer`: tokens for other services are rejected.
    #[serde(default)]
    pub audience: Option<String>,
    /// The backend that publishes the issuer's keys, with its own limits. Required with `issuer`. It is configured
    /// because the issuer's public URL is often not reachable from servers.
    #[serde(default)]
    pub jwks: Option<bff_upstream::Config>,
    /// The path of the JWKS (RFC 7517 §5) at that backend. Default `/jwks`.
    #[serde(default = "Config::jwks_path")]
    pub jwks_path: String,
    /// The age at which the keys are refreshed in the background. Default 10m. A revoked key stays valid for at most
    /// this time plus `jwks_min_refresh_interval`. If no request arrived for so long, the first one waits for the new
    /// keys.
    #[serde(default = "Config::jwks_max_age", with = "bff_config::duration")]
    pub jwks_max_age: Duration,
    /// Minimum time between two fetches of the keys. Default 10s: tokens with invented key ids cause at most six
    /// fetches a minute.
    #[serde(
        default = "Config::jwks_min_refresh_interval",
        with = "bff_config::duration"
    )]
    pub jwks_min_refresh_interval: Duration,
    /// The header `typ` of access tokens, without `application/`, case-insensitive. Default `at+jwt` (RFC 9068 §2.1).
    /// An ID token has the same keys and user, and `typ` distinguishes it for any `aud`. If the issuer uses `JWT` for
    /// access tokens, only `audience` distinguishes them.
    #[serde(default = "Config::token_type")]
    pub token_type: String,
    /// The accepted signature algorithms. Default: all that are supported, RS256 and ES256.
    #[serde(default = "Config::algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// Maximum difference between the issuer's clock and ours. Default 30s: more than with NTP, too short to matter.
    #[serde(default = "Config::leeway", with = "bff_config::duration")]
    pub leeway: Duration,
    /// Maximum number of verified tokens in the cache, so that each signature is checked once. Default 50000: 50 MB
    /// with tokens of 1 kB.
    #[serde(default = "Config::token_cache_size")]
    pub token_cache_size: usize,
    /// The API keys by id (`a-z 0-9 -`). Default: none, API keys are disabled. An account can have several keys for a
    /// rotation without downtime: add the new key, move the clients, disable the old key.
    #[serde(default)]
    pub api_keys: BTreeMap<String, ApiKey>,
}

/// One API key: its account and the hash of its secret. The configuration does not contain the secret.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// SHA-256 of the secret, 64 hexadecimal digits. A plain hash is enough, because the secret is random and long.
    pub hash: Secret,
    /// The account of the key.
    pub account: String,
    /// The account's plan. Default: none.
    #[serde(default)]
    pub plan: Option<String>,
    /// The scopes of the key. Default: none.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whether the key is rejected. Default false. Disable a key before you delete it: the log then shows if it is
    /// used.
    #[serde(default)]
    pub disabled: bool,
}

impl Default for Config {
    /// Accepts no credentials.
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            jwks: None,
            jwks_path: Self::jwks_path(),
            jwks_max_age: Self::jwks_max_age(),
            jwks_min_refresh_interval: Self::jwks_min_refresh_interval(),
            token_type: Self::token_type(),
            algorithms: Self::algorithms(),
            leeway: Self::leeway(),
            token_cache_size: Self::token_cache_size(),
            api_keys: BTreeMap::new(),
        }
    }
}

impl Config {
    fn jwks_path() -> String {
        "/jwks".to_owned()
    }

    fn jwks_max_age() -> Duration {
        Duration::from_secs(600)
    }

    fn jwks_min_refresh_interval() -> Duration {
        Duration::from_secs(10)
    }

    fn token_type() -> String {
        "at+jwt".to_owned()
    }

    fn algorithms() -> Vec<Algorithm> {
        vec![Algorithm::RS256, Algorithm::ES256]
    }

    fn leeway() -> Duration {
        Duration::from_secs(30)
    }

    fn token_cache_size() -> usize {
        50_000
    }
}
