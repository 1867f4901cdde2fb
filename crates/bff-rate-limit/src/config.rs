//! The configuration of rate limits.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::adaptive;
use super::algorithm::{Algorithm, Rule};
use bff_config::Ratio;

/// The rate limits of a gateway.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The limit of one IP address at one replica, before authentication: a token bucket in this process. A rejected
    /// credential costs ten requests. Default none.
    #[serde(default)]
    pub per_ip: Option<PerIp>,
    /// Policies by name, counted after authentication. Clients read the name in `RateLimit-Policy`: 1 to 64 letters,
    /// digits, `-` and `_`. Every policy that matches a request counts it, and the strictest one decides. Default none.
    #[serde(default)]
    pub policies: BTreeMap<String, Policy>,
}

/// The limit of one IP address at one replica.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PerIp {
    /// Requests per period. Required.
    pub limit: u64,
    /// The period. Required.
    #[serde(with = "bff_config::duration")]
    pub period: Duration,
    /// Requests at once. Default: `limit`.
    #[serde(default)]
    pub burst: Option<u64>,
}

/// One policy.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The requests that count: those that the gateway answers itself, those of proxy routes, or both. Default `all`.
    #[serde(default)]
    pub applies_to: AppliesTo,
    /// Only these route templates or path prefixes. A prefix matches whole segments. Default: all paths.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Requests with equal values of all these count together. Default `["caller"]`.
    #[serde(default = "Policy::default_key")]
    pub key_by: Vec<KeyPart>,
    /// How requests are counted. Default `token_bucket`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Requests per period. Required.
    pub limit: u64,
    /// The period. Required.
    #[serde(with = "bff_config::duration")]
    pub period: Duration,
    /// Requests at once (`token_bucket`), or waiting requests (`leaky_bucket_queue`). Default: `limit`.
    #[serde(default)]
    pub burst: Option<u64>,
    /// Other limits by the caller's plan. Each is also the burst, unless `burst` is set. Default none.
    #[serde(default)]
    pub plans: BTreeMap<String, u64>,
    /// The behaviour while Redis is unavailable. Default `local`.
    #[serde(default)]
    pub on_store_failure: OnStoreFailure,
    /// Shrinks the limit while responses fail. Default none: the limit is fixed.
    #[serde(default)]
    pub adaptive: Option<AdaptiveConfig>,
}

/// How an adaptive limit follows the health of its responses.
///
/// By default, a second in which half of the responses fail halves the limit, down to a tenth. Every other second
/// returns a tenth. A failure is a status of 500 and above, or a screen with a section that a retry could complete.
/// Each replica follows its own responses.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveConfig {
    /// Time between two adjustments, more than 0. Default 1s: it reacts soon, and one burst does not move it.
    #[serde(default = "AdaptiveConfig::window", with = "bff_config::duration")]
    pub window: Duration,
    /// Ratio of failures from which a window halves the limit, more than 0. Default 0.5, as for circuit breakers.
    #[serde(default = "AdaptiveConfig::failure_ratio")]
    pub failure_ratio: Ratio,
    /// A window with fewer responses never halves the limit. Default 10, because fewer prove little.
    #[serde(default = "AdaptiveConfig::min_samples")]
    pub min_samples: u32,
    /// The smallest fraction of the limit, more than 0. Default 0.1: enough requests to notice the recovery.
    #[serde(default = "AdaptiveConfig::tenth")]
    pub min_fraction: Ratio,
    /// Fraction of the limit that a healthy window returns, more than 0. Default 0.1: the whole limit in ten seconds.
    #[serde(default = "AdaptiveConfig::tenth")]
    pub recovery_step: Ratio,
}

impl AdaptiveConfig {
    fn window() -> Duration {
        Duration::from_secs(1)
    }

    fn failure_ratio() -> Ratio {
        Ratio::percent(50)
    }

    fn min_samples() -> u32 {
        10
    }

    fn tenth() -> Ratio {
        Ratio::percent(10)
    }

    /// Converts to whole microseconds and thousandths.
    pub(super) fn rule(&self) -> Result<adaptive::AdaptiveRule, String> {
        let window = u64::try_from(self.window.as_micros()).unwrap_or(u64::MAX);
        if window == 0 {
            return Err("adaptive.window must be more than 0".to_owned());
        }
        let thousandths = |key: &str, ratio: Ratio| match ratio.thousandths() {
            0 => Err(format!("adaptive.{key} must be more than 0")),
            thousandths => Ok(thousandths),
        };
        Ok(adaptive::AdaptiveRule {
            window,
            failure_ratio: thousandths("failure_ratio", self.failure_ratio)?,
            min_samples: self.min_samples.into(),
            min_fraction: thousandths("min_fraction", self.min_fraction)?,
            recovery_step: thousandths("recovery_step", self.recovery_step)?,
        })
    }
}

/// The requests that a policy counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AppliesTo {
    /// The requests of all endpoints and all proxy routes.
    #[default]
    All,
    /// The requests of endpoints: screens, actions, GraphQL.
    Endpoints,
    /// The requests of proxy routes.
    Proxied,
}

/// A part of the key under which requests count together.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum KeyPart {
    /// The client's IP address. For IPv6, the /64 network.
    Address,
    /// The account, else the IP address.
    Caller,
    /// The API key, else the caller.
    ApiKey,
    /// The caller's plan.
    Plan,
    /// The route template.
    Route,
}

/// The behaviour of a policy while Redis is unavailable.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreFailure {
    /// Each replica counts for itself, with the same limit.
    #[default]
    Local,
    /// Every request is rejected with 503.
    FailClosed,
}

impl Policy {
    fn default_key() -> Vec<KeyPart> {
        vec![KeyPart::Caller]
    }

    pub(super) fn rule(&self, limit: u64) -> Result<Rule, String> {
        rule(self.algorithm, limit, self.period, self.burst)
    }
}

impl PerIp {
    pub(super) fn rule(&self) -> Result<Rule, String> {
        rule(Algorithm::TokenBucket, self.limit, self.period, self.burst)
    }
}

fn rule(
    algorithm: Algorithm,
    limit: u64,
    period: Duration,
    burst: Option<u64>,
) -> Result<Rule, String> {
    let period = u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
    let burst = burst.unwrap_or(limit);
    if limit == 0 || burst == 0 || period == 0 {
        return Err("limit, burst and period must be more than 0".to_owned());
    }
    let largest = limit.max(burst).saturating_add(1);
    if largest.saturating_mul(period) >= Rule::MAX_PRODUCT {
        return Err("limit and burst times period (in microseconds) must be below 2^53".to_owned());
    }
    Ok(Rule {
        algorithm,
        limit,
        period,
        burst,
    })
}
