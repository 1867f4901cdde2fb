//! One call to one backend. [`send`] applies the cache, and then the policies of `Policy::call`, outermost first.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cache::{self, Cache, FetchContext, FetchResult, ReadThrough};
use crate::context::RequestContext;
use crate::discovery::{self, InitialResolution};
use crate::net;
use crate::scope::Scope;

pub use crate::context::{
    Failure, Fetched, Freshness, Id, InvalidId, Provenance, Reason, Short, deserialize_id,
    validate_id,
};
pub use base_url::BaseUrl;
pub use call::Call;
pub use gateway_handles::GatewayHandles;

pub(crate) use crate::context::SharedDeadline;
use balance::{Endpoint, Instance};
pub(crate) use forward::{ClientBodyError, ForwardRequest, ForwardResponse, RetryPolicy, forward};
pub(crate) use policy::Policy;
pub(crate) use replay_body::RequestBody;
pub(crate) use response_body::read_limited as read_response;
pub(crate) use retry::RetryTraits;
pub(crate) use stream::{InFlightGuard, InstanceClients};
pub(crate) use trust_roots::TrustRoots;

mod attempt;
pub mod backoff;
pub mod balance;
mod base_url;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
mod call;
mod client;
pub mod deadline_filter;
mod forward;
mod gateway_handles;
pub mod hedge;
pub mod latency;
pub mod outcome;
pub mod outlier_detection;
mod policy;
mod replay_body;
mod response_body;
pub mod retry;
mod stream;
#[cfg(test)]
mod tests;
mod trust_roots;

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
        with = "crate::config::duration::some"
    )]
    pub attempt_timeout: Duration,
    /// The timeout for connecting. Default 250ms: within a data centre a handshake takes about 1 ms.
    #[serde(
        default = "Config::connect_timeout",
        with = "crate::config::duration::some"
    )]
    pub connect_timeout: Duration,
    /// How long an idle connection stays in the pool. Default 30s: less than a server's usual keep-alive timeout (75s).
    #[serde(default = "Config::idle_timeout", with = "crate::config::duration")]
    pub idle_timeout: Duration,
    /// The maximum size of a response body, as received and again after decompression. Default 2097152 (2 MiB).
    #[serde(default = "Config::max_body_bytes")]
    pub max_body_bytes: usize,
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
    pub cache: cache::CacheOverrides,
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
            cache: cache::CacheOverrides::default(),
        }
    }

    /// The timeout of a background revalidation: enough for every attempt of a call.
    pub(crate) fn revalidation_timeout(&self) -> Duration {
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

    fn max_body_bytes() -> usize {
        2 << 20
    }
}

/// An HTTP backend with its policies and its instances. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream {
    policy: Arc<Policy<InstanceClients>>,
    cache: Cache,
}

impl Upstream {
    /// Creates the backend that configuration, metrics and provenance call `name`.
    ///
    /// # Errors
    /// One line that names the invalid configuration key.
    pub fn new(
        name: &'static str,
        config: &Config,
        shared: &GatewayHandles,
    ) -> Result<Self, String> {
        let (net, client_config) = (shared.env.net().clone(), config.clone());
        let trust_roots = TrustRoots::open(config.ca_file.as_deref());
        let trust_roots = trust_roots.map_err(|line| format!("upstreams.{name}.{line}"))?;
        let make_clients = move |endpoint: &Endpoint| {
            InstanceClients::new(&client_config, &net, &endpoint.address, &trust_roots)
        };
        Ok(Self {
            policy: Arc::new(Policy::new(name, config, shared, make_clients)?),
            cache: shared.cache.clone(),
        })
    }

    /// The backend's name in configuration and metrics.
    pub fn name(&self) -> &'static str {
        self.policy.name()
    }

    /// The first result of service discovery. Start-up waits for it.
    pub(crate) fn initial_discovery(&self) -> InitialResolution {
        self.policy.initial_discovery()
    }

    /// The maximum size of a response body, in bytes.
    pub(crate) fn max_body_bytes(&self) -> usize {
        self.policy.config().max_body_bytes
    }
}

impl Upstream {
    /// Calls a backend: the cache first, then every policy, outermost first.
    ///
    /// Dropping the returned future cancels the call, because the future owns the call. The future is boxed at once:
    /// a screen joins many calls, and every move of an unboxed future would copy kilobytes.
    pub fn send<T, S>(
        &self,
        cx: &RequestContext,
        mut call: Call<S>,
    ) -> impl Future<Output = Result<Fetched<T, S>, Failure>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
        S: Scope,
    {
        Box::pin(async move {
            if call.is_write() {
                // Boxed: otherwise the future of every read would reserve space for a write.
                return Box::pin(self.send_write(cx, &call)).await;
            }
            let config = self.policy.config();
            let request = ReadThrough {
                read: cache::ReadKey {
                    key: call.key::<T>(&self.cache, self.name()),
                    route: call.route(),
                    visibility: call.visibility(),
                },
                policy: call
                    .take_cache_policy()
                    .with_overrides(&config.cache, call.route()),
                revalidation_timeout: config.revalidation_timeout(),
                decode: Some(attempt::decode_cached::<T>),
            };
            let up = self.clone();
            // The cache, then single-flight within the same scope, then all other policies, and finally an attempt.
            let fetch = |fetch: FetchContext| async move {
                let (cx, deadline) = (&fetch.cx, &fetch.deadline);
                up.fetch(cx, &call, Some(&fetch), deadline).await
            };
            self.cache.get_or_fetch(cx, request, fetch).await
        })
    }

    /// Sends a write. Writes are never coalesced, and they invalidate cached reads.
    async fn send_write<T, S>(
        &self,
        cx: &RequestContext,
        call: &Call<S>,
    ) -> Result<Fetched<T, S>, Failure>
    where
        T: DeserializeOwned + Send + Sync + 'static,
        S: Scope,
    {
        let deadline = SharedDeadline::new(cx.upstream_deadline());
        let result = self.fetch(cx, call, None, &deadline).await;
        if result
            .as_ref()
            .err()
            .is_none_or(Failure::may_have_been_applied)
        {
            let path = call.path();
            let target = (self.name(), path.as_bytes());
            let (audience, policy) = (call.audience(), call.cache_policy());
            let now = self.policy.env().unix_millis();
            (self.cache).invalidate_after_write(target, &audience, policy, now);
        }
        match result {
            Ok(FetchResult::Full(response)) => {
                let provenance = Provenance::fresh(self.name(), Duration::ZERO, call.visibility());
                Ok(Fetched::new(response.value, provenance))
            }
            // The request was not conditional, so a 304 is a backend error.
            Ok(FetchResult::NotModified(..)) => Err(Failure::new(Reason::BadResponse)
                .with_upstream(self.name())
                .for_write(true)),
            Err(failure) => Err(failure.for_write(true)),
        }
    }

    /// Runs one call through every policy except the cache, and records it.
    async fn fetch<T, S>(
        &self,
        cx: &RequestContext,
        call: &Call<S>,
        fetch: Option<&FetchContext>,
        deadline: &SharedDeadline,
    ) -> Result<FetchResult<T>, Failure>
    where
        T: DeserializeOwned + Send + Sync + 'static,
        S: Scope,
    {
        let started = net::now();
        let (config, env) = (self.policy.config(), self.policy.env());
        let attempt = |instance: Arc<Instance<InstanceClients>>, timeout| async move {
            let clients = instance.payload();
            attempt::attempt((cx, env), config, clients, call, fetch, timeout).await
        };
        let traits = call.retry_traits();
        let result = self.policy.call(cx, deadline, traits, attempt).await;
        self.policy.record_call(call.route(), started, &result);
        result.map_err(|failure| failure.with_upstream(self.name()))
    }
}

/// Calls a backend: [`Upstream::send`].
pub fn send<T, S>(
    cx: &RequestContext,
    up: &Upstream,
    call: Call<S>,
) -> impl Future<Output = Result<Fetched<T, S>, Failure>>
where
    T: DeserializeOwned + Send + Sync + 'static,
    S: Scope,
{
    up.send(cx, call)
}
