//! Service discovery: the instances of a backend, from a static list, DNS or Consul.
//!
//! A background task polls the source and reports changes. If the source fails, the last known instances remain. If it
//! reports no instances, this applies at once. The log target is `discovery`: one line when the instances change, when
//! a source fails, and when it has recovered.

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use super::endpoint::Endpoint;

use super::endpoint;
use crate::base_url::BaseUrl;
use bff_context::context::Env;
use bff_runtime::net::Net;
use consul::ConsulWatcher;
use dns::Dns;
use poll_schedule::PollSchedule;
use watcher::{Source, Watcher};

pub use config::{Config, Consul, Kind, StaticEndpoint};

mod config;
mod consul;
mod dns;
mod poll_schedule;
#[cfg(test)]
mod tests;
mod watcher;

/// Watches the instances of `backend` until the returned handle is dropped.
///
/// After every change, `on_change` receives all instances, sorted by address. A static list is passed before this
/// function returns. An endpoint's address is `host:port`. Without discovery it is the authority of `url`, unchanged.
///
/// `on_change` must not own the owner of the [`WatchHandle`], because such a cycle would never be dropped. Must be
/// called inside the tokio runtime.
///
/// # Errors
/// One line, `key: reason`, with a key of the backend's `discovery` table.
pub fn watch(
    backend: &'static str,
    url: &BaseUrl,
    config: &Config,
    env: &Env,
    on_change: impl Fn(&[Endpoint]) + Send + Sync + 'static,
) -> Result<WatchHandle, String> {
    config.check()?;
    let port = port_of(url);
    let resolved = CancellationToken::new();
    let deadline = Instant::now() + config.start_timeout;
    let source = match (config.kind, env.net()) {
        // The in-memory network connects by name, so nothing needs to be resolved.
        (Kind::Static, _) | (Kind::Dns | Kind::Srv, Net::InMemory(_)) => None,
        (Kind::Dns, _) => Some(Source::Dns(Dns::addresses(config, url, port)?)),
        (Kind::Srv, _) => Some(Source::Dns(Dns::services(config)?)),
        (Kind::Consul, net) => Some(Source::Consul(ConsulWatcher::new(config, port, net)?)),
    };
    let task = if let Some(source) = source {
        let schedule = PollSchedule::new(config, env.fork(backend));
        let watcher = Watcher::new(backend, schedule, Box::new(on_change), resolved.clone());
        Some(AbortOnDropHandle::new(tokio::spawn(watcher.run(source))))
    } else {
        let endpoints = if config.endpoints.is_empty() {
            vec![Endpoint::at(url.authority().clone())]
        } else {
            endpoint::sorted(config.static_endpoints()?)
        };
        on_change(&endpoints);
        resolved.cancel();
        None
    };
    Ok(WatchHandle {
        initial: InitialResolution { resolved, deadline },
        _task: task,
    })
}

/// The handle of a watch. Dropping it ends the watch.
#[derive(Debug)]
pub struct WatchHandle {
    initial: InitialResolution,
    _task: Option<AbortOnDropHandle<()>>,
}

impl WatchHandle {
    /// The first result of the watch.
    pub fn initial(&self) -> &InitialResolution {
        &self.initial
    }
}

/// The first result of service discovery for a backend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InitialResolution {
    /// Cancelled with the first result.
    resolved: CancellationToken,
    deadline: Instant,
}

impl InitialResolution {
    /// Waits for the first result, at most `start_timeout` after the start of the watch. Returns whether there is one.
    ///
    /// After a timeout the watch continues in the background.
    pub async fn wait(&self) -> bool {
        timeout_at(self.deadline, self.resolved.cancelled())
            .await
            .is_ok()
    }
}

/// The port of a backend's URL.
fn port_of(url: &BaseUrl) -> u16 {
    let default = if url.is_tls() { 443 } else { 80 };
    url.authority().port_u16().unwrap_or(default)
}
