//! One call to one backend. [`Upstream::send`] applies the cache, then the policies of
//! [`pipeline`](crate::policies::pipeline), outermost first, around an attempt.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use bff_cache::{Cache, FetchContext, FetchResult, ReadThrough};
use bff_context::context::{Failure, Fetched, Provenance, Reason, RequestContext, SharedDeadline};
use bff_context::scope::Scope;
use serde::de::DeserializeOwned;

use crate::attempt;
use crate::call::Call;
use crate::clients::stream::InstanceClients;
use crate::clients::trust_roots::TrustRoots;
use crate::config::Config;
use crate::endpoints::balance::Instance;
use crate::endpoints::discovery::InitialResolution;
use crate::endpoints::endpoint::Endpoint;
use crate::gateway_handles::GatewayHandles;
use crate::policies::policy::Policy;

/// An HTTP backend with its policies and its instances. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub(crate) policy: Arc<Policy<InstanceClients>>,
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
    pub fn initial_discovery(&self) -> InitialResolution {
        self.policy.initial_discovery()
    }

    /// The reason why the backend is unhealthy, for operators.
    pub fn unhealthy_reason(&self) -> Option<Reason> {
        self.policy.unhealthy_reason()
    }

    /// The maximum size of a response body, in bytes.
    pub fn max_body_bytes(&self) -> usize {
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
                read: bff_cache::ReadKey {
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
                let provenance = Provenance {
                    omitted: response.omitted,
                    ..Provenance::fresh(self.name(), Duration::ZERO, call.visibility())
                };
                Ok(bff_context::trusted::fetched(response.value, provenance))
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
        let started = Instant::now();
        let (config, env) = (self.policy.config(), self.policy.env());
        let attempt = |instance: Arc<Instance<InstanceClients>>, timeout| async move {
            let clients = instance.payload();
            attempt::attempt((cx, env), config, clients, call, fetch, timeout).await
        };
        let traits = call.retry_traits();
        let result = self.policy.call(cx, deadline, traits, attempt).await;
        self.policy.record_call(call.route(), started, &result);
        if let Ok(FetchResult::Full(response)) = &result {
            (self.policy).record_omitted(call.route(), response.omitted);
        }
        result.map_err(|failure| failure.with_upstream(self.name()))
    }
}
