//! The background task that polls a discovery source and reports changes.

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::consul::ConsulWatcher;
use super::dns::Dns;
use super::poll_schedule::PollSchedule;
use crate::endpoints::endpoint::{Endpoint, Resolution, sorted};

/// The maximum number of instances of one backend. More of them suggest a wrong name, and the rest is ignored.
const MAX_ENDPOINTS: usize = 1024;

/// A source of instances.
pub(super) enum Source {
    Dns(Dns),
    Consul(ConsulWatcher),
}

impl Source {
    async fn resolve(&mut self) -> Result<Resolution, String> {
        match self {
            Self::Dns(dns) => dns.resolve().await,
            Self::Consul(consul) => consul.resolve().await,
        }
    }
}

/// The callback that receives all instances after a change.
pub(super) type OnChange = Box<dyn Fn(&[Endpoint]) + Send + Sync>;

/// Polls the source of one backend.
pub(super) struct Watcher {
    backend: &'static str,
    schedule: PollSchedule,
    on_change: OnChange,
    /// Cancelled with the first result.
    resolved: CancellationToken,
    last: Option<Vec<Endpoint>>,
}

impl Watcher {
    pub(super) fn new(
        backend: &'static str,
        schedule: PollSchedule,
        on_change: OnChange,
        resolved: CancellationToken,
    ) -> Self {
        Self {
            backend,
            schedule,
            on_change,
            resolved,
            last: None,
        }
    }

    /// Polls until the task is aborted.
    pub(super) async fn run(mut self, mut source: Source) {
        loop {
            let started = Instant::now();
            let delay = match source.resolve().await {
                Ok(resolution) => {
                    if self.schedule.is_failing() {
                        tracing::info!(target: "discovery", backend = self.backend, "service discovery recovered");
                    }
                    self.apply(resolution.endpoints);
                    self.schedule
                        .delay_after_success(resolution.ttl, started.elapsed())
                }
                Err(error) => {
                    if !self.schedule.is_failing() {
                        let instances = self.last.as_ref().map_or(0, Vec::len);
                        tracing::warn!(target: "discovery", backend = self.backend, instances, %error,
                            "service discovery failed; keeping the last known endpoints");
                    }
                    self.schedule.delay_after_failure()
                }
            };
            sleep(delay).await;
        }
    }

    /// Reports the instances, if they changed.
    fn apply(&mut self, endpoints: Vec<Endpoint>) {
        let mut endpoints = sorted(endpoints);
        let ignored = endpoints.len().saturating_sub(MAX_ENDPOINTS);
        endpoints.truncate(MAX_ENDPOINTS);
        if self.last.as_ref() == Some(&endpoints) {
            return;
        }
        let instances = endpoints.len();
        if instances == 0 || ignored > 0 {
            tracing::warn!(target: "discovery", backend = self.backend, instances, ignored, "instances changed");
        } else {
            tracing::info!(target: "discovery", backend = self.backend, instances, "instances changed");
        }
        (self.on_change)(&endpoints);
        self.last = Some(endpoints);
        self.resolved.cancel();
    }
}
