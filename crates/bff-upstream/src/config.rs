//! The settings for calls to one backend: the table `upstreams.<name>`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base_url::BaseUrl;
use crate::endpoints::{balance, discovery};
use crate::policies::{
    backoff, breaker, budget, bulkhead, deadline_filter, hedge, latency, outlier_detection, retry,
};

/// The settings for calls to one backend.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The base URL: `http://host:port` or `https://host`, optionally with a path prefix.
    pub url: BaseUrl,
    /// A PEM file with CA certificates (for example those of a private company CA). They replace the public trust
    /// roots. Default none: the public trust roots.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The timeout of one attempt, including connecting and reading the body. Default 1s: after that time a retry
    /// or a failure is better than waiting longer.
    #[serde(
        default = "Config::attempt_timeout",
        with = "bff_config::duration::some"
    )]
    pub attempt_timeout: Duration,
    /// The timeout for connecting. Default 250ms: within a data centre a handshake takes about 1 ms.
    #[serde(
        default = "Config::connect_timeout",
        with = "bff_config::duration::some"
    )]
    pub connect_timeout: Duration,
    /// How long an idle connection stays in the pool. Default 30s: less than a server's usual keep-alive timeout (75s).
    #[serde(default = "Config::idle_timeout", with = "bff_config::duration")]
    pub idle_timeout: Duration,
    /// The maximum size of a response body, as received and again after decompression. Default 2097152 (2 MiB).
    #[serde(default = "Config::max_body_bytes")]
    pub max_body_bytes: usize,
    /// The maximum number of header fields in a response over HTTP/1.1. Default 256.
    #[serde(default = "Config::http1_max_headers")]
    pub http1_max_headers: usize,
    /// Service discovery for the backend's instances. Default: one instance, the host and port of `url`.
    #[serde(default)]
    pub discovery: discovery::Config,
    /// The maximum number of attempts for one call.
    #[serde(default)]
    pub retry: retry::Config,
    /// The delay before a retry.
    #[serde(default)]
    pub backoff: backoff::Config,
    /// The limit of retries and hedges together, relative to the number of calls.
    #[serde(default)]
    pub retry_budget: budget::Config,
    /// When a slow read gets a second, parallel attempt, if its call allows hedging.
    #[serde(default)]
    pub hedge: hedge::Config,
    /// When a call is rejected because the remaining time is too short for a response.
    #[serde(default)]
    pub deadline_filter: deadline_filter::Config,
    /// The time window in which latency is measured, for the hedge and the deadline filter.
    #[serde(default)]
    pub latency: latency::Config,
    /// The limit of concurrent attempts.
    #[serde(default)]
    pub bulkhead: bulkhead::Config,
    /// When calls to the backend are suspended for a while.
    #[serde(default)]
    pub circuit_breaker: breaker::Config,
    /// The choice of an instance for each attempt.
    #[serde(default)]
    pub load_balancing: balance::Config,
    /// When a single instance is ejected from load balancing for a while.
    #[serde(default)]
    pub outlier_detection: outlier_detection::Config,
    /// Cache settings per route. They override the cache policy of the call.
    #[serde(default)]
    pub cache: bff_cache::CacheOverrides,
}

impl Config {
    /// The defaults for a backend at `url`.
    pub fn at(url: BaseUrl) -> Self {
        Self {
            url,
            ca_file: None,
            attempt_timeout: Self::attempt_timeout(),
            connect_timeout: Self::connect_timeout(),
            idle_timeout: Self::idle_timeout(),
            max_body_bytes: Self::max_body_bytes(),
            http1_max_headers: Self::http1_max_headers(),
            discovery: discovery::Config::default(),
            retry: retry::Config::default(),
            backoff: backoff::Config::default(),
            retry_budget: budget::Config::default(),
            hedge: hedge::Config::default(),
            deadline_filter: deadline_filter::Config::default(),
            latency: latency::Config::default(),
            bulkhead: bulkhead::Config::default(),
            circuit_breaker: breaker::Config::default(),
            load_balancing: balance::Config::default(),
            outlier_detection: outlier_detection::Config::default(),
            cache: bff_cache::CacheOverrides::default(),
        }
    }

    /// The timeout of a background revalidation: enough for every attempt of a call.
    pub fn revalidation_timeout(&self) -> Duration {
        self.attempt_timeout * self.retry.max_attempts.get()
    }

    fn attempt_timeout() -> Duration {
        Duration::from_secs(1)
    }

    fn connect_timeout() -> Duration {
        Duration::from_millis(250)
    }

    fn idle_timeout() -> Duration {
        Duration::from_secs(30)
    }

    fn http1_max_headers() -> usize {
        256
    }

    fn max_body_bytes() -> usize {
        2 << 20
    }
}
