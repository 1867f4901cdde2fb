//! The settings of the cache: the table `cache`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The response cache of a gateway.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Size of the cache in this process, in bytes as received, with keys and heads. Default 67108864 (64 MiB): about
    /// ten thousand responses of 6 kB, a quarter of a small container. 0 turns caching off, in Redis too.
    pub max_bytes: u64,
    /// Background revalidations (RFC 5861 §3) at once. Default 64: a quarter of what one backend accepts from a
    /// gateway. Beyond it, the next reader revalidates.
    pub max_background_revalidations: usize,
    /// Whether equal calls at the same time become one. Default true. Off shows each call separately.
    pub coalesce_requests: bool,
    /// The tier that replicas share.
    pub shared: SharedConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_background_revalidations: 64,
            coalesce_requests: true,
            shared: SharedConfig::default(),
        }
    }
}

/// The tier that replicas share, if `[store] url` names a Redis.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedConfig {
    /// The largest body in Redis, in bytes as received. Default 262144 (256 KiB): fetching a larger one again costs
    /// less than storing and reading it. 0 turns sharing off: each replica has its own entries only.
    pub max_bytes: usize,
    /// How long a replica waits for a response that another replica fetches, before it calls the backend itself.
    /// Default 500ms: longer than nearly every call. A leaseholder that dies delays the others by no more than this.
    #[serde(with = "bff_config::duration::some")]
    pub lease_wait: Duration,
}

impl Default for SharedConfig {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 10,
            lease_wait: Duration::from_millis(500),
        }
    }
}
