//! The policies of one backend, for every protocol. `T` is the client of an instance.

use std::sync::Arc;

use bff_context::context::{Failure, Reason};
use bff_runtime::net::Env;
use bff_telemetry::Metrics;
use tokio::time::Instant;

use super::breaker::{Breaker, BreakerState};
use super::budget::Budget;
use super::bulkhead::Bulkhead;
use super::deadline_filter::DeadlineFilter;
use super::hedge::Hedge;
use super::latency::Latency;
use crate::config::Config;
use crate::endpoints::balance::{Instance, Instances};
use crate::endpoints::discovery::{self, InitialResolution, WatchHandle};
use crate::endpoints::endpoint::Endpoint;
use crate::gateway_handles::GatewayHandles;

/// The policies of one backend.
#[derive(Debug)]
pub struct Policy<T> {
    pub(super) name: &'static str,
    pub(super) config: Config,
    pub(super) instances: Arc<Instances<T>>,
    watch: WatchHandle,
    pub(super) budget: Budget,
    pub(super) bulkhead: Bulkhead,
    pub(super) breaker: Breaker,
    pub(super) latency: Latency,
    pub(super) hedge: Hedge,
    pub(super) deadline_filter: DeadlineFilter,
    pub(super) env: Env,
    pub(super) metrics: Metrics,
}

impl<T: Send + Sync + 'static> Policy<T> {
    /// Creates the policies of a backend. `make_client` creates the client of an instance.
    ///
    /// # Errors
    /// One line that names the invalid configuration key.
    pub fn new(
        name: &'static str,
        config: &Config,
        shared: &GatewayHandles,
        make_client: impl Fn(&Endpoint) -> T + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let now = Instant::now();
        let seed = shared.env.random();
        let instances = Arc::new(Instances::new(
            &config.load_balancing,
            &config.outlier_detection,
            now,
        ));
        let watched = instances.clone();
        let on_change = move |endpoints: &[Endpoint]| watched.replace(endpoints, &make_client);
        let (url, discovery) = (&config.url, &config.discovery);
        let watch = discovery::watch(name, url, discovery, &shared.env, on_change)
            .map_err(|error| format!("upstreams.{name}.discovery.{error}"))?;
        Ok(Self {
            name,
            instances,
            watch,
            budget: Budget::new(&config.retry_budget, now),
            bulkhead: Bulkhead::new(&config.bulkhead),
            breaker: Breaker::new(&config.circuit_breaker, config.attempt_timeout, seed, now),
            latency: Latency::new(&config.latency, now),
            hedge: Hedge::new(&config.hedge, now),
            deadline_filter: DeadlineFilter::new(&config.deadline_filter, now),
            config: config.clone(),
            env: shared.env.clone(),
            metrics: shared.metrics.clone(),
        })
    }

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
        let elapsed = Instant::now() - started;
        (self.metrics).upstream_call(self.name, route, outcome, elapsed);
    }

    /// Counts and logs the elements that the lists of one response omit, because they do not decode.
    pub fn record_omitted(&self, route: &'static str, omitted: u32) {
        if omitted > 0 {
            self.metrics.omitted_items(self.name, route, omitted);
            let upstream = self.name;
            tracing::warn!(target: "upstream", upstream, route, omitted, "elements of a list do not decode");
        }
    }

    /// The backend's settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Counts an exchange that continues after its attempt, until [`Self::release`].
    pub(crate) fn acquire(&self, instance: &Instance<T>, streaming: bool) {
        self.bulkhead.acquire_unchecked(streaming);
        instance.acquire();
    }

    /// Ends an exchange that [`Self::acquire`] counted.
    pub(crate) fn release(&self, instance: &Instance<T>, streaming: bool) {
        self.bulkhead.release(streaming);
        instance.release();
    }

    /// The reason why a call might be rejected now; `None` while the backend is healthy.
    pub fn unhealthy_reason(&self) -> Option<Reason> {
        if self.instances.states(Instant::now()).is_empty() {
            return Some(Reason::NoInstance);
        }
        // A half-open breaker rejects most calls too.
        (self.breaker.state() != BreakerState::Closed).then_some(Reason::CircuitOpen)
    }
}
