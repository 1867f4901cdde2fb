//! Service discovery with real services: dnsmasq for DNS, and a Consul agent.
//!
//! A test without its service prints a line and passes. With `REQUIRE_SERVICES=1` it fails.

use std::time::Duration;

use bff_core::context::Env;
use bff_core::discovery::{Config, WatchHandle, watch};
use tokio::sync::mpsc;
use tokio::time::timeout;

mod consul;
mod dns;
mod issuer;
mod load;

/// Longer than any discovery takes on a busy machine. Only a failure reaches it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A backend whose instances are watched, and the received updates.
struct WatchedBackend {
    handle: WatchHandle,
    updates: mpsc::UnboundedReceiver<Vec<String>>,
}

impl WatchedBackend {
    /// Watches the backend with the URL `http://alpha.test:3005`.
    fn new(config: &Config) -> Self {
        bff_core::auth::install_crypto();
        let (sender, updates) = mpsc::unbounded_channel();
        let url = "http://alpha.test:3005".parse().unwrap();
        let handle = watch("alpha", &url, config, &Env::real(), move |endpoints| {
            let describe = |e: &bff_core::discovery::Endpoint| {
                let zone = e.zone.as_deref().unwrap_or("-");
                format!("{} {} {zone}", e.address, e.weight)
            };
            sender
                .send(endpoints.iter().map(describe).collect())
                .unwrap();
        });
        Self {
            handle: handle.unwrap(),
            updates,
        }
    }

    /// The next update, one line per instance with its address, weight and zone.
    async fn next(&mut self) -> Vec<String> {
        let update = timeout(TIMEOUT, self.updates.recv()).await;
        update.unwrap().unwrap()
    }
}
