//! The task that asks one source again and again, and what it does with an answer.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Endpoint;
use super::consul::ConsulWatcher;
use super::dns::Dns;
use super::poll_schedule::PollSchedule;

/// The most instances of one backend; a name that has more is not the name that was meant.
const MAX_ENDPOINTS: usize = 1024;

/// Who is asked.
pub(super) enum Source {
    Dns(Dns),
    Consul(ConsulWatcher),
}

/// What a source said.
pub(super) struct Answer {
    pub(super) endpoints: Vec<Endpoint>,
    /// For how long that holds; none when the source blocks until it no longer does.
    pub(super) ttl: Option<Duration>,
}

impl Source {
    async fn ask(&mut self) -> Result<Answer, String> {
        match self {
            Self::Dns(dns) => dns.ask().await,
            Self::Consul(agent) => agent.ask().await,
        }
    }
}

/// Where new instances go.
pub(super) type OnChange = Box<dyn Fn(&[Endpoint]) + Send + Sync>;

/// What is known of one backend's instances.
pub(super) struct Watcher {
    backend: &'static str,
    pace: PollSchedule,
    give: OnChange,
    /// Cancelled when instances are known for the first time.
    known: CancellationToken,
    last: Option<Vec<Endpoint>>,
}

impl Watcher {
    pub(super) fn new(
        backend: &'static str,
        pace: PollSchedule,
        give: OnChange,
        known: CancellationToken,
    ) -> Self {
        Self {
            backend,
            pace,
            give,
            known,
            last: None,
        }
    }

    /// Asks for ever.
    pub(super) async fn run(mut self, mut source: Source) {
        loop {
            let asked = Instant::now();
            let wait = match source.ask().await {
                Ok(answer) => {
                    if self.pace.is_failing() {
                        tracing::info!(target: "discovery", backend = self.backend, "instances are found again");
                    }
                    self.apply(answer.endpoints);
                    self.pace.answered(answer.ttl, asked.elapsed())
                }
                Err(error) => {
                    if !self.pace.is_failing() {
                        let known = self.last.as_ref().map_or(0, Vec::len);
                        tracing::warn!(target: "discovery", backend = self.backend, known, %error,
                            "instances cannot be asked for: those known stay");
                    }
                    self.pace.failed()
                }
            };
            sleep(wait).await;
        }
    }

    /// Gives the instances on if they are others than before.
    fn apply(&mut self, endpoints: Vec<Endpoint>) {
        let mut endpoints = in_order(endpoints);
        let left_out = endpoints.len().saturating_sub(MAX_ENDPOINTS);
        endpoints.truncate(MAX_ENDPOINTS);
        if self.last.as_ref() == Some(&endpoints) {
            return;
        }
        let instances = endpoints.len();
        if instances == 0 || left_out > 0 {
            tracing::warn!(target: "discovery", backend = self.backend, instances, left_out, "instances changed");
        } else {
            tracing::info!(target: "discovery", backend = self.backend, instances, "instances changed");
        }
        (self.give)(&endpoints);
        self.last = Some(endpoints);
        self.known.cancel();
    }
}

/// The same instances whatever order a source names them in: by address, and each once.
pub(super) fn in_order(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    endpoints.sort_by(|a, b| a.address.as_str().cmp(b.address.as_str()));
    endpoints.dedup_by(|b, a| a.address == b.address);
    endpoints
}
