//! What the edge accepts, and for how long.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::admission::{client_ip, load_shed};
use crate::scope::{Language, Region};

/// What the edge lets in, and for how long.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long a whole request may take. Default 2s: people leave pages that take longer.
    #[serde(default = "Config::deadline", with = "crate::config::duration::some")]
    pub deadline: Duration,
    /// The most a client's `Request-Timeout` may ask for. Default 10s.
    #[serde(
        default = "Config::max_deadline",
        with = "crate::config::duration::some"
    )]
    pub max_deadline: Duration,
    /// The largest request body read, unless the route says otherwise. Default 65536 (64 KiB).
    #[serde(default = "Config::max_body_bytes")]
    pub max_body_bytes: usize,
    /// How long a request's body may take to arrive. Default 5s, and never past the deadline.
    #[serde(
        default = "Config::body_timeout",
        with = "crate::config::duration::some"
    )]
    pub body_timeout: Duration,
    /// The languages there are texts in, the first being the default. Default `["en"]`.
    #[serde(default = "Config::languages")]
    pub languages: Vec<Language>,
    /// The markets served, the first being that of callers who are not signed in. Default `["DE"]`.
    #[serde(default = "Config::regions")]
    pub regions: Vec<Region>,
    /// The origins whose pages may call, exactly as browsers send them. Default none.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// Whether those pages may send cookies. Default false.
    #[serde(default)]
    pub cors_credentials: bool,
    /// The proxies before this gateway, as addresses or networks: what they say in `Forwarded` and `X-Forwarded-…` of
    /// where a request came from is passed on, what anybody else says there is replaced. Default none.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Which header those proxies write the client's address into, `x-forwarded-for` or `forwarded`. Default
    /// `x-forwarded-for`, and only one: a proxy may pass on what a client wrote into the other.
    #[serde(default)]
    pub client_ip_header: client_ip::ForwardedHeader,
    /// The addresses or networks let in. Default none, which lets in everybody who is not denied.
    #[serde(default)]
    pub allow: Vec<IpNet>,
    /// The addresses or networks never let in: 403. Default none.
    #[serde(default)]
    pub deny: Vec<IpNet>,
    /// How much one client may ask for. Default: no limit.
    #[serde(default)]
    pub rate_limits: crate::rate_limit::Config,
    /// How many requests are worked on at once, and who goes first when there are more.
    #[serde(default)]
    pub load_shedding: load_shed::Config,
}

impl Config {
    fn deadline() -> Duration {
        Duration::from_secs(2)
    }

    fn max_deadline() -> Duration {
        Duration::from_secs(10)
    }

    fn max_body_bytes() -> usize {
        64 << 10
    }

    fn body_timeout() -> Duration {
        Duration::from_secs(5)
    }

    fn languages() -> Vec<Language> {
        "en".parse().into_iter().collect()
    }

    fn regions() -> Vec<Region> {
        "DE".parse().into_iter().collect()
    }
}
