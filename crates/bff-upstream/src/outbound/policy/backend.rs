//! The backend of a policy: name, settings, instances, and the metrics of its calls.

use bff_runtime::net::{self, Env};
use tokio::time::Instant;

use super::{Config, Failure, InitialResolution, Policy};

impl<T: Send + Sync + 'static> Policy<T> {
    /// The backend's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The first result of service discovery.
    pub fn initial_discovery(&self) -> InitialResolution {
        self.watch.initial().clone()
    }

    /// Network, clock and randomness.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Records the duration of a call, labelled with its outcome: `ok` or the failure's reason.
    pub fn record_call<R>(
        &self,
        route: &'static str,
        started: Instant,
        result: &Result<R, Failure>,
    ) {
        let outcome = result.as_ref().err().map_or("ok", |f| f.reason().as_str());
        let took = net::now() - started;
        (self.metrics).upstream_call(self.name, route, outcome, took);
    }

    /// The backend's settings.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
