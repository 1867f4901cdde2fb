//! The services that the upstreams of one gateway share. An upstream takes them when it is constructed.

use http::HeaderValue;
use tokio_util::task::TaskTracker;

use bff_cache::Cache;
use bff_runtime::net::Env;
use bff_store::Store;
use bff_telemetry::Metrics;

/// The services that the upstreams of one gateway share. No request carries them.
#[derive(Clone, Debug)]
pub struct GatewayHandles {
    /// The client class, sent to backends as `X-Client`.
    pub client: HeaderValue,
    /// Network, clock and randomness.
    pub env: Env,
    /// Tasks that must finish. Draining waits for them.
    pub tasks: TaskTracker,
    /// The metrics of this gateway.
    pub metrics: Metrics,
    /// The cache of backend responses.
    pub cache: Cache,
}

impl GatewayHandles {
    /// The handles of the gateway `name`. Its replicas share responses through `store`, if it is Redis.
    pub fn open(
        name: &'static str,
        env: Env,
        cache: &bff_cache::Config,
        store: &Store,
    ) -> Result<Self, String> {
        let (tasks, metrics) = (TaskTracker::new(), Metrics::new(name)?);
        Ok(Self {
            client: HeaderValue::from_static(name),
            cache: Cache::with_shared_tier(cache, &env, &tasks, &metrics, (name, store)),
            env,
            tasks,
            metrics,
        })
    }

    /// Handles without a store and without exported metrics, for tests and tools.
    pub fn in_process(name: &'static str, env: Env) -> Self {
        let (tasks, metrics) = (TaskTracker::new(), Metrics::noop());
        Self {
            client: HeaderValue::from_static(name),
            cache: Cache::new(&bff_cache::Config::default(), &env, &tasks, &metrics),
            env,
            tasks,
            metrics,
        }
    }
}
