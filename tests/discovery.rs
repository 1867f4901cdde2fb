//! Instances found by the real parts: dnsmasq for DNS, a Consul agent in development mode.
//!
//! Without those two installed the tests say so and pass, but for `REQUIRE_SERVICES=1`.

use std::time::Duration;

use bff_core::context::Env;
use bff_core::discovery::{Config, WatchHandle, watch};
use tokio::sync::mpsc;
use tokio::time::timeout;

mod consul;
mod dns;
#[path = "support/free_ports.rs"]
mod free_ports;
mod issuer;
mod load;

/// More than any part takes on a busy machine; reached by failures only.
const PATIENCE: Duration = Duration::from_secs(30);

/// A backend being followed, and the instances it was told.
struct Followed {
    following: WatchHandle,
    given: mpsc::UnboundedReceiver<Vec<String>>,
}

impl Followed {
    /// Follows the backend that is at `http://alpha.test:3005` by its own words.
    fn new(config: &Config) -> Self {
        bff_core::auth::install_crypto();
        let (give, given) = mpsc::unbounded_channel();
        let url = "http://alpha.test:3005".parse().unwrap();
        let following = watch("alpha", &url, config, &Env::real(), move |found| {
            let line = |e: &bff_core::discovery::Endpoint| {
                let zone = e.zone.as_deref().unwrap_or("-");
                format!("{} {} {zone}", e.address, e.weight)
            };
            give.send(found.iter().map(line).collect()).unwrap();
        });
        Self {
            following: following.unwrap(),
            given,
        }
    }

    /// What they changed to next, as lines of address, weight and zone.
    async fn next(&mut self) -> Vec<String> {
        self.within(PATIENCE).await
    }

    async fn within(&mut self, bound: Duration) -> Vec<String> {
        timeout(bound, self.given.recv()).await.unwrap().unwrap()
    }
}
