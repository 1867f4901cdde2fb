//! One call to one backend. [`send`] lists every policy a call passes, outermost first.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cache::{self, FetchContext, FetchResult, ReadThrough};
use crate::context::{GatewayHandles, RequestContext};
use crate::discovery::{self, InitialResolution};
use crate::net;
use crate::scope::Scope;

pub use crate::context::{
    Failure, Fetched, Freshness, Id, InvalidId, Provenance, Reason, Short, deserialize_id,
    validate_id,
};
pub use base_url::BaseUrl;
pub use call::Call;

pub(crate) use crate::context::SharedDeadline;
use balance::{Endpoint, Instance};
pub(crate) use client::Client;
pub(crate) use forward::{ClientBodyError, ForwardRequest, ForwardResponse, RetryPolicy, forward};
pub(crate) use policy::Policy;
pub(crate) use replay_body::RequestBody;
pub(crate) use response_body::read_limited as read_answer;
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

/// How one backend is called.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it is: `http://host:port` or `https://host`, perhaps with a path prefix.
    pub url: BaseUrl,
    /// The authorities whose certificates the backend may show, as a file of PEM: those of a company that signs for its
    /// own machines. Default none: the public ones, which do not count where this is set.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long one attempt may take, connecting and reading the body included. Default 1s: a backend
    /// that needs longer is better asked again, or not at all.
    #[serde(
        default = "Config::attempt_timeout",
        with = "crate::config::duration::some"
    )]
    pub attempt_timeout: Duration,
    /// How long connecting may take. Default 250ms: within a data centre a handshake takes one.
    #[serde(
        default = "Config::connect_timeout",
        with = "crate::config::duration::some"
    )]
    pub connect_timeout: Duration,
    /// How long an idle connection is kept. Default 30s: less than the usual keep-alive of a server (75s).
    #[serde(default = "Config::idle_timeout", with = "crate::config::duration")]
    pub idle_timeout: Duration,
    /// The largest answer read, counted while reading and again after decompression. Default 2097152 (2 MiB).
    #[serde(default = "Config::max_body_bytes")]
    pub max_body_bytes: usize,
    /// Where its instances are asked for. Default: the one of `url`.
    #[serde(default)]
    pub discovery: discovery::Config,
    /// How often one call is tried.
    #[serde(default)]
    pub retry: retry::Config,
    /// How long to wait before trying again.
    #[serde(default)]
    pub backoff: backoff::Config,
    /// How many extra attempts, retries and hedges alike, there may be in relation to calls.
    #[serde(default)]
    pub retry_budget: budget::Config,
    /// When a slow read of those that allow it is asked a second time.
    #[serde(default)]
    pub hedge: hedge::Config,
    /// When a call is not begun, because what is left of its time is too short for an answer.
    #[serde(default)]
    pub deadline_filter: deadline_filter::Config,
    /// Over which time latency is measured, for the hedge and for what is hopeless.
    #[serde(default)]
    pub latency: latency::Config,
    /// How many attempts may be under way at once.
    #[serde(default)]
    pub bulkhead: bulkhead::Config,
    /// When the backend is left alone for a while.
    #[serde(default)]
    pub circuit_breaker: breaker::Config,
    /// Which instance takes an attempt.
    #[serde(default)]
    pub load_balancing: balance::Config,
    /// When one instance of several is left out for a while.
    #[serde(default)]
    pub outlier_detection: outlier_detection::Config,
    /// How its answers are kept, over what its calls say.
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

    /// How long a call may take that nobody waits for: every attempt it has.
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

/// One backend as a gateway sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Policy<InstanceClients>>);

impl Upstream {
    /// A backend called `name` in configuration, metrics and provenance. The error is one line that names the key
    /// of a mistake.
    pub fn new(
        name: &'static str,
        config: &Config,
        shared: &GatewayHandles,
    ) -> Result<Self, String> {
        let (net, of) = (shared.env.net().clone(), config.clone());
        let trust = TrustRoots::open(config.ca_file.as_deref());
        let trust = trust.map_err(|line| format!("upstreams.{name}.{line}"))?;
        let client = move |at: &Endpoint| InstanceClients::new(&of, &net, &at.address, &trust);
        Ok(Self(Arc::new(Policy::new(name, config, shared, client)?)))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The first answer about its instances, which start-up waits for.
    pub(crate) fn initial_discovery(&self) -> InitialResolution {
        self.0.first()
    }

    /// The largest answer read of it.
    pub(crate) fn max_body_bytes(&self) -> usize {
        self.0.config().max_body_bytes
    }
}

/// Calls a backend under every policy, outermost first.
///
/// The call is owned and the returned future borrows nothing but `cx` and the backend, so that dropping it is
/// cancelling it. It is boxed as soon as it is made: a screen joins many calls, and each place that a future is
/// handed through would move it by the kilobyte.
pub fn send<T, S>(
    cx: &RequestContext,
    up: &Upstream,
    mut call: Call<S>,
) -> impl Future<Output = Result<Fetched<T, S>, Failure>>
where
    T: DeserializeOwned + Send + Sync + 'static,
    S: Scope,
{
    Box::pin(async move {
        if call.is_write() {
            // Boxed, so that a read has no room for it.
            return Box::pin(send_write(cx, up, &call)).await;
        }
        let config = up.0.config();
        let ask = ReadThrough {
            read: cache::ReadKey {
                key: call.key::<T>(&cx.shared().cache, up.name()),
                route: call.route(),
                sharing: call.sharing(),
            },
            keep: call
                .take_cache_policy()
                .with_overrides(&config.cache, call.route()),
            renew_within: config.revalidation_timeout(),
            recall: Some(attempt::decode_cached::<T>),
        };
        let up = up.clone();
        // First the cache, then a call in flight for the same scope, then all other policies, and at last an attempt.
        cache::get_or_fetch(cx, ask, |fetch| async move {
            let (cx, until) = (&fetch.cx, &fetch.until);
            call_upstream(cx, &up, &call, Some(&fetch), until).await
        })
        .await
    })
}

/// A write is nobody else's, and outdates what was read before.
async fn send_write<T, S>(
    cx: &RequestContext,
    up: &Upstream,
    call: &Call<S>,
) -> Result<Fetched<T, S>, Failure>
where
    T: DeserializeOwned + Send + Sync + 'static,
    S: Scope,
{
    let until = SharedDeadline::new(cx.upstream_deadline());
    let done = call_upstream(cx, up, call, None, &until).await;
    if done
        .as_ref()
        .err()
        .is_none_or(Failure::may_have_been_applied)
    {
        let target = call.path();
        let at = (up.name(), target.as_bytes());
        let keep = call.cache_policy();
        (cx.shared().cache).invalidate_after_write(
            at,
            &call.audience(),
            keep,
            cx.world().unix_millis(),
        );
    }
    match done {
        Ok(FetchResult::Full(whole)) => {
            let from = Provenance::fresh(up.name(), Duration::ZERO, call.sharing());
            Ok(Fetched::new(whole.value, from))
        }
        // Nothing was asked for on a condition.
        Ok(FetchResult::NotModified(..)) => Err(Failure::new(Reason::BadResponse)
            .with_upstream(up.name())
            .for_write(true)),
        Err(failure) => Err(failure.for_write(true)),
    }
}

/// One call: every policy but the cache's.
async fn call_upstream<T, S>(
    cx: &RequestContext,
    up: &Upstream,
    call: &Call<S>,
    fetch: Option<&FetchContext>,
    until: &SharedDeadline,
) -> Result<FetchResult<T>, Failure>
where
    T: DeserializeOwned + Send + Sync + 'static,
    S: Scope,
{
    let started = net::now();
    let config = up.0.config();
    let attempt = |instance: Arc<Instance<InstanceClients>>, time| async move {
        attempt::attempt(cx, config, &instance.payload().whole, call, fetch, time).await
    };
    let done = up.0.call(cx, until, call.retry_traits(), attempt).await;
    record_call(cx, up.name(), call.route(), started, &done);
    done.map_err(|failure| failure.with_upstream(up.name()))
}

/// Counts and times a call by how it ended.
pub(crate) fn record_call<T>(
    cx: &RequestContext,
    upstream: &'static str,
    route: &'static str,
    started: Instant,
    done: &Result<T, Failure>,
) {
    let outcome = done.as_ref().err().map_or("ok", |f| f.reason().as_str());
    (cx.shared().metrics).upstream_call(upstream, route, outcome, net::now() - started);
}
