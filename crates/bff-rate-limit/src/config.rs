//! Which limits there are, as configuration says it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::adaptive;
use super::algorithm::{Algorithm, Rule};
use bff_config::Ratio;

/// How much one client may ask for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What one address may ask of one replica, before anything is known of who it is: a token bucket in this process.
    /// Default none. A credential that is refused costs ten.
    #[serde(default)]
    pub per_ip: Option<Address>,
    /// The caller's quotas by their name, which clients read in `RateLimit-Policy`: letters, digits, `-` and `_`. A
    /// request counts against each that it matches, and the strictest answers. Default none.
    #[serde(default)]
    pub policies: BTreeMap<String, Policy>,
}

/// What one address may ask of one replica.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// How many requests a period.
    pub limit: u64,
    /// The period.
    #[serde(with = "bff_config::duration")]
    pub period: Duration,
    /// How many at once. Default: as many as `limit`.
    #[serde(default)]
    pub burst: Option<u64>,
}

/// One quota.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Which requests: those the gateway answers itself, those it passes on, or both. Default both.
    #[serde(default)]
    pub applies_to: AppliesTo,
    /// Which of them: route templates, or prefixes of paths that end at a `/`. Default all.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Whose requests count together: all that have these in common. Default `["caller"]`.
    #[serde(default = "Policy::by")]
    pub key_by: Vec<KeyPart>,
    /// How they are counted. Default `token_bucket`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How many a period.
    pub limit: u64,
    /// The period.
    #[serde(with = "bff_config::duration")]
    pub period: Duration,
    /// How many at once (buckets), or how many wait (`leaky_bucket_queue`). Default: as many as `limit`.
    #[serde(default)]
    pub burst: Option<u64>,
    /// Other limits by the caller's plan, each the burst too unless `burst` is given. Default none.
    #[serde(default)]
    pub plans: BTreeMap<String, u64>,
    /// What holds while Redis is away. Default `local`.
    #[serde(default)]
    pub on_store_failure: OnStoreFailure,
    /// That the limit shrinks while its requests are answered by failures, and recovers. Default none: it stays as it is.
    #[serde(default)]
    pub adaptive: Option<Adaptive>,
}

/// How a limit follows the health of what answers behind it: in a second in which half of the answers are failures it
/// is halved, down to a tenth, and every better second gives a tenth of it back. A failure is a status of 500 and above,
/// or a screen that lacks something that trying again could mend. Each replica follows what it sees itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptive {
    /// How long answers are counted before the limit moves. Default 1s: soon felt, and not moved by one burst.
    #[serde(default = "Adaptive::window", with = "bff_config::duration")]
    pub window: Duration,
    /// Which share of a window's answers must be failures for the limit to halve, more than 0. Default 0.5, as the
    /// breakers have it.
    #[serde(default = "Adaptive::failing")]
    pub failure_ratio: Ratio,
    /// How many answers a window must have to say anything. Default 10: fewer say little.
    #[serde(default = "Adaptive::minimum")]
    pub min_samples: u32,
    /// Which share of the limit is left at least, more than 0. Default 0.1: enough to find out that all is well again.
    #[serde(default = "Adaptive::tenth")]
    pub min_fraction: Ratio,
    /// Which share of the limit a better window gives back, more than 0. Default 0.1: all of it in ten seconds.
    #[serde(default = "Adaptive::tenth")]
    pub recovery_step: Ratio,
}

impl Adaptive {
    fn window() -> Duration {
        Duration::from_secs(1)
    }

    fn failing() -> Ratio {
        Ratio::percent(50)
    }

    fn minimum() -> u32 {
        10
    }

    fn tenth() -> Ratio {
        Ratio::percent(10)
    }

    /// In whole microseconds and thousandths.
    pub(super) fn read(&self) -> Result<adaptive::Adaptive, String> {
        let window = u64::try_from(self.window.as_micros()).unwrap_or(u64::MAX);
        if window == 0 {
            return Err("adaptive.window is more than 0".to_owned());
        }
        let part = |key: &str, share: Ratio| match share.thousandths() {
            0 => Err(format!("adaptive.{key} is more than 0")),
            part => Ok(part),
        };
        Ok(adaptive::Adaptive {
            window,
            failing: part("failure_ratio", self.failure_ratio)?,
            minimum: self.min_samples.into(),
            least: part("min_fraction", self.min_fraction)?,
            step: part("recovery_step", self.recovery_step)?,
        })
    }
}

/// Which requests a policy is about.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AppliesTo {
    /// All that come through a door or a route.
    #[default]
    All,
    /// Those with a door: screens, actions, GraphQL.
    Endpoints,
    /// Those that a route of the configuration passes on.
    Proxied,
}

/// What requests have in common that count together.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum KeyPart {
    /// The address the request came from; of IPv6 the /64.
    Address,
    /// The account, or the address of whoever is not signed in.
    Caller,
    /// The API key, or the caller.
    ApiKey,
    /// The plan.
    Plan,
    /// The route's template.
    Route,
}

/// What holds while Redis is away.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreFailure {
    /// Each replica counts for itself, to the same limit.
    #[default]
    Local,
    /// Nobody passes: 503.
    FailClosed,
}

impl Policy {
    fn by() -> Vec<KeyPart> {
        vec![KeyPart::Caller]
    }

    pub(super) fn rule(&self, limit: u64) -> Result<Rule, String> {
        rule(self.algorithm, limit, self.period, self.burst)
    }
}

impl Address {
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
        return Err("limit, burst and period are more than 0".to_owned());
    }
    let most = limit.max(burst).saturating_add(1);
    if most.saturating_mul(period) >= Rule::MAX_PRODUCT {
        return Err("limit and burst times period (in microseconds) stay below 2^53".to_owned());
    }
    Ok(Rule {
        algorithm,
        limit,
        period,
        burst,
    })
}
