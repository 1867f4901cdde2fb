//! Which credentials one gateway accepts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::jwks::Algorithm;
use bff_config::Secret;
use bff_upstream::outbound;

/// Which credentials a gateway accepts: bearer tokens when `issuer` is set, API keys when `api_keys` has one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who signs bearer tokens, compared with `iss` byte by byte (RFC 9068 §4). Default: none, bearer tokens are off.
    #[serde(default)]
    pub issuer: Option<String>,
    /// What a token's `aud` must name. Required with `issuer`: a token meant for another service is not for us.
    #[serde(default)]
    pub audience: Option<String>,
    /// The backend that publishes the issuer's keys, with its own limits. Required with `issuer`; configured and not
    /// discovered, because the issuer's public address is often not the one that servers reach it by.
    #[serde(default)]
    pub jwks: Option<outbound::Config>,
    /// The path of the key document (JWKS, RFC 7517 §5) at that backend. Default `/jwks`.
    #[serde(default = "Config::jwks_path")]
    pub jwks_path: String,
    /// How old keys may grow before they are fetched again behind the requests' backs. Default 10m: a key that the
    /// issuer withdrew is believed for no longer than that and `keys_min_interval`. Where nobody asked for so long, the
    /// first who does waits for the new ones.
    #[serde(default = "Config::keys_max_age", with = "bff_config::duration")]
    pub jwks_max_age: Duration,
    /// The least time between two fetches of keys. Default 10s: made-up key ids cost the issuer six calls a minute.
    #[serde(default = "Config::keys_min_interval", with = "bff_config::duration")]
    pub jwks_min_refresh_interval: Duration,
    /// What the header of an access token says it is (`typ`, without `application/`, in any case). Default `at+jwt`
    /// (RFC 9068 §2.1). An ID token is signed by the same keys for the same person, and `typ` is what tells it apart
    /// whatever its `aud`: with an issuer that calls its access tokens `JWT`, only `audience` is left to do so.
    #[serde(default = "Config::token_type")]
    pub token_type: String,
    /// The signature algorithms accepted. Default all that are known: RS256 and ES256.
    #[serde(default = "Config::algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// By how much the issuer's clock may differ from ours. Default 30s: more than NTP leaves, less than anyone notices.
    #[serde(default = "Config::leeway", with = "bff_config::duration")]
    pub leeway: Duration,
    /// How many verified tokens are remembered, so that their signature is checked once. Default 50000: at the usual
    /// 1 kB a token, 50 MB when full.
    #[serde(default = "Config::verified_tokens")]
    pub token_cache_size: usize,
    /// The API keys by their id, `a-z 0-9 -`. Default: none, API keys are off. Several keys of one account replace
    /// one another without downtime: add the new, move the clients, disable the old.
    #[serde(default)]
    pub api_keys: BTreeMap<String, ApiKey>,
}

/// One API key: who holds it, and the hash of its secret. The secret itself is known to its holder only.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// SHA-256 of the secret, 64 hexadecimal digits. A plain hash is enough, because the secret is random and long.
    pub hash: Secret,
    /// The account that holds the key.
    pub account: String,
    /// The plan the account is on. Default: none.
    #[serde(default)]
    pub plan: Option<String>,
    /// What the key allows. Default: nothing beyond being known.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whether the key is refused. Default false; kept and not deleted, so that the log can name a key still in use.
    #[serde(default)]
    pub disabled: bool,
}

impl Default for Config {
    /// Nothing is accepted.
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            jwks: None,
            jwks_path: Self::jwks_path(),
            jwks_max_age: Self::keys_max_age(),
            jwks_min_refresh_interval: Self::keys_min_interval(),
            token_type: Self::token_type(),
            algorithms: Self::algorithms(),
            leeway: Self::leeway(),
            token_cache_size: Self::verified_tokens(),
            api_keys: BTreeMap::new(),
        }
    }
}

impl Config {
    fn jwks_path() -> String {
        "/jwks".to_owned()
    }

    fn keys_max_age() -> Duration {
        Duration::from_secs(600)
    }

    fn keys_min_interval() -> Duration {
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

    fn verified_tokens() -> usize {
        50_000
    }
}
