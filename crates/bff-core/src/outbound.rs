//! One call to one backend. [`send`] lists every policy a call passes, outermost first.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cache::{self, Ask, Fetch, Got};
use crate::context::{Cx, Shared};
use crate::discovery::{self, First};
use crate::net;
use crate::scope::Scope;

pub use call::Call;
pub use failure::{Failure, Reason};
pub use id::{Id, NotAnId, Short, check_id, read_id};
pub use provenance::{Fetched, Provenance, State};
pub use target::BaseUrl;

use balance::{Endpoint, Instance};
pub(crate) use body::read as read_answer;
pub(crate) use client::Client;
pub(crate) use lent::Load;
pub(crate) use passage::{Again, Answer, Passage, Spoilt, pass};
pub(crate) use policy::Policy;
pub(crate) use repeat::Repeat;
pub(crate) use stream::{Clients, Stay};
pub(crate) use trust::Trust;
pub(crate) use until::Until;

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
pub mod hedge;
pub mod hopeless;
mod id;
pub mod latency;
mod lent;
pub mod outcome;
mod passage;
mod policy;
mod provenance;
mod repeat;
pub mod retry;
mod stream;
mod target;
#[cfg(test)]
mod tests;
mod trust;
mod until;

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
    pub budget: budget::Config,
    /// When a slow read of those that allow it is asked a second time.
    #[serde(default)]
    pub hedge: hedge::Config,
    /// When a call is not begun, because what is left of its time is too short for an answer.
    #[serde(default)]
    pub hopeless: hopeless::Config,
    /// Over which time latency is measured, for the hedge and for what is hopeless.
    #[serde(default)]
    pub latency: latency::Config,
    /// How many attempts may be under way at once.
    #[serde(default)]
    pub bulkhead: bulkhead::Config,
    /// When the backend is left alone for a while.
    #[serde(default)]
    pub breaker: breaker::Config,
    /// Which instance takes an attempt.
    #[serde(default)]
    pub balance: balance::Config,
    /// When one instance of several is left out for a while.
    #[serde(default)]
    pub ejection: ejection::Config,
    /// How its answers are kept, over what its calls say.
    #[serde(default)]
    pub cache: cache::Rules,
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
            budget: budget::Config::default(),
            hedge: hedge::Config::default(),
            hopeless: hopeless::Config::default(),
            latency: latency::Config::default(),
            bulkhead: bulkhead::Config::default(),
            breaker: breaker::Config::default(),
            balance: balance::Config::default(),
            ejection: ejection::Config::default(),
            cache: cache::Rules::default(),
        }
    }

    /// How long a call may take that nobody waits for: every attempt it has.
    pub(crate) fn renew_within(&self) -> Duration {
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
pub struct Upstream(Arc<Policy<Clients>>);

impl Upstream {
    /// A backend called `name` in configuration, metrics and provenance. The error is one line that names the key
    /// of a mistake.
    pub fn new(name: &'static str, config: &Config, shared: &Shared) -> Result<Self, String> {
        let (net, of) = (shared.world.net().clone(), config.clone());
        let trust = Trust::open(config.ca_file.as_deref());
        let trust = trust.map_err(|line| format!("upstreams.{name}.{line}"))?;
        let client = move |at: &Endpoint| Clients::new(&of, &net, &at.address, &trust);
        Ok(Self(Arc::new(Policy::new(name, config, shared, client)?)))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The first answer about its instances, which start-up waits for.
    pub(crate) fn first(&self) -> First {
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
    cx: &Cx,
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
            return Box::pin(write(cx, up, &call)).await;
        }
        let config = up.0.config();
        let ask = Ask {
            read: cache::Read {
                key: call.key::<T>(&cx.shared().cache, up.name()),
                route: call.route(),
                sharing: call.sharing(),
            },
            keep: call.take_kept_how().under(&config.cache, call.route()),
            renew_within: config.renew_within(),
            recall: Some(attempt::recall::<T>),
        };
        let up = up.clone();
        // First the cache, then a call in flight for the same scope, then all other policies, and at last an attempt.
        cache::answer(cx, ask, |fetch| async move {
            let (cx, until) = (&fetch.cx, &fetch.until);
            one(cx, &up, &call, Some(&fetch), until).await
        })
        .await
    })
}

/// A write is nobody else's, and outdates what was read before.
async fn write<T, S>(cx: &Cx, up: &Upstream, call: &Call<S>) -> Result<Fetched<T, S>, Failure>
where
    T: DeserializeOwned + Send + Sync + 'static,
    S: Scope,
{
    let until = Until::new(cx.calls_deadline());
    let done = one(cx, up, call, None, &until).await;
    if done.as_ref().err().is_none_or(Failure::is_uncertain) {
        let target = call.path();
        let at = (up.name(), target.as_bytes());
        let keep = call.kept_how();
        (cx.shared().cache).written(at, &call.audience(), keep, cx.world().unix_millis());
    }
    match done {
        Ok(Got::Whole(whole)) => {
            let from = Provenance::fresh(up.name(), Duration::ZERO, call.sharing());
            Ok(Fetched::new(whole.value, from))
        }
        // Nothing was asked for on a condition.
        Ok(Got::Same(..)) => Err(Failure::new(Reason::BadResponse).of(up.name()).after(true)),
        Err(failure) => Err(failure.after(true)),
    }
}

/// One call: every policy but the cache's.
async fn one<T, S>(
    cx: &Cx,
    up: &Upstream,
    call: &Call<S>,
    fetch: Option<&Fetch>,
    until: &Until,
) -> Result<Got<T>, Failure>
where
    T: DeserializeOwned + Send + Sync + 'static,
    S: Scope,
{
    let started = net::now();
    let config = up.0.config();
    let attempt = |instance: Arc<Instance<Clients>>, time| async move {
        attempt::attempt(cx, config, &instance.payload().whole, call, fetch, time).await
    };
    let done = up.0.call(cx, until, call.repeat(), attempt).await;
    told(cx, up.name(), call.route(), started, &done);
    done.map_err(|failure| failure.of(up.name()))
}

/// Counts and times a call by how it ended.
pub(crate) fn told<T>(
    cx: &Cx,
    upstream: &'static str,
    route: &'static str,
    started: Instant,
    done: &Result<T, Failure>,
) {
    let outcome = done.as_ref().err().map_or("ok", |f| f.reason().as_str());
    (cx.shared().metrics).upstream_call(upstream, route, outcome, net::now() - started);
}
