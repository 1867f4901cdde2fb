//! The `[store]` section.

use std::time::Duration;

use bff_config::Secret;
use serde::{Deserialize, Serialize};

/// The store of shared state.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Redis, as `redis://host:6379/0`, or as `rediss://…` with TLS. A cluster by some of its nodes, as
    /// `redis+cluster://host:6379,host:6379` or `rediss+cluster://…`. A secret, because it may hold a password. Default
    /// none: state stays in this process, and each replica counts for itself.
    #[serde(default)]
    pub url: Option<Secret>,
    /// Keys that encrypt secrets before they leave this process: 32 random bytes each, in base64url. The first key
    /// encrypts, all keys decrypt. To rotate, add the new key in front; remove the old one after its records have
    /// expired. Default none, which production refuses if `url` is set. Prefer a file.
    #[serde(default)]
    pub encryption_keys: Vec<Secret>,
    /// The time limit of one call to Redis. Default 50ms: a healthy Redis takes one, and the request needs the rest.
    #[serde(default = "Config::timeout", with = "bff_config::duration::some")]
    pub timeout: Duration,
    /// How long Redis, or a slot range of a cluster, is not called after a failure. Default 250ms: recovery is noticed
    /// soon, and only one request in that time waits for the attempt.
    #[serde(
        default = "Config::retry_interval",
        with = "bff_config::duration::some"
    )]
    pub retry_interval: Duration,
    /// The size in this process of the records that must not be evicted, in bytes; beyond it, writes fail. The same
    /// again for evictable records; beyond it, the one that expires first is evicted. Default 67108864 (64 MiB).
    #[serde(default = "Config::memory_bytes")]
    pub memory_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            encryption_keys: Vec::new(),
            timeout: Self::timeout(),
            retry_interval: Self::retry_interval(),
            memory_bytes: Self::memory_bytes(),
        }
    }
}

impl Config {
    fn timeout() -> Duration {
        Duration::from_millis(50)
    }

    fn retry_interval() -> Duration {
        Duration::from_millis(250)
    }

    fn memory_bytes() -> usize {
        64 << 20
    }
}
