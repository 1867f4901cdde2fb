//! Which instances a backend has: a fixed list, DNS or Consul, asked in the background and given on when they change.
//!
//! A source that cannot be asked changes nothing: the last known instances stay. A source that answers "none" is
//! believed at once. Lines are logged under the target `discovery`: one when the instances change, one when a source
//! stops answering, and one when it answers again.

use std::net::IpAddr;

use http::uri::Authority;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::context::Env;
use crate::net::Net;
use crate::outbound::BaseUrl;
use consul::ConsulWatcher;
use dns::Dns;
use poll_schedule::PollSchedule;
use watcher::{Source, Watcher};

pub use crate::outbound::balance::Endpoint;
pub use config::{Config, Consul, Kind, StaticEndpoint};

mod config;
mod consul;
mod dns;
mod poll_schedule;
#[cfg(test)]
mod tests;
mod watcher;

/// Follows the instances of `backend`, whose address without discovery is `url`, until the answer is dropped. Whenever
/// they change, `give` gets all of them, sorted by address; a fixed list is given before this function returns. The
/// address of an endpoint says host and port, but for that of `url` itself, which is as it is written there.
///
/// `give` must not own what owns the [`WatchHandle`], or neither is ever dropped. The error is one line, `key: why`, whose
/// key is one of the backend's `discovery` table. Must be called inside the runtime.
pub fn watch(
    backend: &'static str,
    url: &BaseUrl,
    config: &Config,
    world: &Env,
    give: impl Fn(&[Endpoint]) + Send + Sync + 'static,
) -> Result<WatchHandle, String> {
    config.check()?;
    let own = own_port(url);
    let known = CancellationToken::new();
    let until = Instant::now() + config.start_timeout;
    let source = match (config.kind, world.net()) {
        // On pipes a name is what it stands for.
        (Kind::Static, _) | (Kind::Dns | Kind::Srv, Net::InMemory(_)) => None,
        (Kind::Dns, _) => Some(Source::Dns(Dns::addresses(config, url, own)?)),
        (Kind::Srv, _) => Some(Source::Dns(Dns::services(config)?)),
        (Kind::Consul, net) => Some(Source::Consul(ConsulWatcher::new(config, own, net)?)),
    };
    let task = if let Some(source) = source {
        let pace = PollSchedule::new(config, world.fork(backend));
        let follower = Watcher::new(backend, pace, Box::new(give), known.clone());
        Some(AbortOnDropHandle::new(tokio::spawn(follower.run(source))))
    } else {
        let fixed = if config.endpoints.is_empty() {
            vec![endpoint(url.authority().clone())]
        } else {
            watcher::in_order(config.fixed()?)
        };
        give(&fixed);
        known.cancel();
        None
    };
    Ok(WatchHandle {
        first: InitialResolution { known, until },
        _task: task,
    })
}

/// A backend's instances being followed. Dropping it ends that.
#[derive(Debug)]
pub struct WatchHandle {
    first: InitialResolution,
    _task: Option<AbortOnDropHandle<()>>,
}

impl WatchHandle {
    /// The first answer, to wait for.
    pub fn first(&self) -> &InitialResolution {
        &self.first
    }
}

/// The first answer about a backend's instances. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InitialResolution {
    /// Cancelled when instances are known for the first time.
    known: CancellationToken,
    until: Instant,
}

impl InitialResolution {
    /// Waits for it, no longer than `start_timeout` after the following began; says whether it came. If not, they are
    /// still being asked for.
    pub async fn wait(&self) -> bool {
        timeout_at(self.until, self.known.cancelled()).await.is_ok()
    }
}

/// The port of a backend's URL.
fn own_port(url: &BaseUrl) -> u16 {
    let usual = if url.is_tls() { 443 } else { 80 };
    url.authority().port_u16().unwrap_or(usual)
}

/// An instance of which only the address is known.
fn endpoint(address: Authority) -> Endpoint {
    Endpoint {
        address,
        weight: 1,
        zone: None,
    }
}

/// The address of a port of a host, unless that is none.
fn address(host: &str, port: u16) -> Option<Authority> {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => parse(&format!("[{ip}]:{port}")),
        _ => parse(&format!("{host}:{port}")),
    }
}

/// `text` as an address, if it is `host:port`.
fn parse(text: &str) -> Option<Authority> {
    let address: Authority = text.parse().ok()?;
    let whole = address.port_u16().is_some() && !address.host().is_empty();
    (whole && !text.contains('@')).then_some(address)
}
