//! One call to one backend. [`send`] lists every policy a call passes, outermost first.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::context::{Cx, Shared};
use crate::scope::Scope;

pub use call::Call;
pub use failure::{Failure, Reason};
pub use id::{Id, NotAnId, check_id};
pub use provenance::{Fetched, Provenance, State};
pub use target::BaseUrl;

mod attempt;
pub mod backoff;
pub mod balance;
mod body;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
mod call;
mod client;
mod clock;
pub mod ejection;
mod failure;
pub mod freshness;
pub mod hedge;
mod id;
pub mod latency;
pub mod outcome;
mod provenance;
pub mod retry;
pub mod share;
mod target;
#[cfg(test)]
mod tests;

/// How one backend is called.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it is: `http://host:port` or `https://host`, perhaps with a path prefix.
    pub url: BaseUrl,
    /// How long one attempt may take, connecting and reading the body included. Default 1s: a backend
    /// that needs longer is better asked again, or not at all.
    #[serde(default = "Config::attempt_timeout", with = "crate::config::duration")]
    pub attempt_timeout: Duration,
    /// How long connecting may take. Default 250ms: within a data centre a handshake takes one.
    #[serde(default = "Config::connect_timeout", with = "crate::config::duration")]
    pub connect_timeout: Duration,
    /// How long an idle connection is kept. Default 30s: less than the usual keep-alive of a server (75s).
    #[serde(default = "Config::idle_timeout", with = "crate::config::duration")]
    pub idle_timeout: Duration,
    /// The largest answer read, counted while reading and again after decompression. Default 2097152 (2 MiB).
    #[serde(default = "Config::max_body_bytes")]
    pub max_body_bytes: usize,
}

impl Config {
    /// The defaults for a backend at `url`.
    pub fn at(url: BaseUrl) -> Self {
        Self {
            url,
            attempt_timeout: Self::attempt_timeout(),
            connect_timeout: Self::connect_timeout(),
            idle_timeout: Self::idle_timeout(),
            max_body_bytes: Self::max_body_bytes(),
        }
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
pub struct Upstream(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    config: Config,
    client: client::Client,
}

impl Upstream {
    /// A backend called `name` in configuration, metrics and provenance.
    pub fn new(name: &'static str, config: &Config, shared: &Shared) -> Self {
        Self(Arc::new(Inner {
            name,
            client: client::Client::new(config, shared.world.net()),
            config: config.clone(),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.0.name
    }
}

/// Calls a backend under every policy, outermost first.
///
/// The call is owned and the returned future borrows nothing but `cx`, so that dropping it is cancelling it.
pub async fn send<T, S>(cx: &Cx, up: &Upstream, call: Call<S>) -> Result<Fetched<T, S>, Failure>
where
    T: DeserializeOwned + Send + Sync + 'static,
    S: Scope,
{
    // Shared answers come in here: first the cache, then a flight already on its way for the same scope.
    // Then room: a place in the bulkhead, a healthy instance, a closed breaker. Then retry and hedge.
    // Time: one attempt is cut to what is left of the whole request, less what writing the answer needs.
    let started = Instant::now();
    let left = cx.calls_deadline().saturating_duration_since(started);
    if left.is_zero() {
        return Err(Failure::new(Reason::Deadline).of(up.name()));
    }
    let route = call.route();
    let bound = up.0.config.attempt_timeout.min(left);
    // Boxed: screens join many calls, and their futures would be moved about by the kilobyte.
    let attempt = Box::pin(attempt::attempt(cx, up, &call, bound));
    let outcome = match tokio::time::timeout(bound, attempt).await {
        Ok(outcome) => outcome,
        Err(_) if bound == left => Err(Failure::new(Reason::Deadline)),
        Err(_) => Err(Failure::new(Reason::Timeout)),
    };
    let metrics = &cx.shared().metrics;
    match outcome {
        Ok((value, fresh_for)) => {
            metrics.upstream_call(up.name(), route, "ok", started.elapsed());
            let from = Provenance::fresh(up.name(), fresh_for, call.sharing());
            Ok(Fetched::new(Arc::new(value), from))
        }
        Err(failure) => {
            metrics.upstream_call(
                up.name(),
                route,
                failure.reason().as_str(),
                started.elapsed(),
            );
            Err(failure.of(up.name()).after(call.is_write()))
        }
    }
}
