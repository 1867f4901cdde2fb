//! One schedule: twenty requests of several callers under faults, and the checks after the faults end.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use fleet::Gateway;
use futures_util::future::{join, join_all};
use http::{Request, Response};
use http_body_util::Full;
use services_mock::Backend;
use tokio::time::{Instant, sleep, timeout};

use super::checkout::CheckoutClients;
use super::fault_schedule::{self, ScheduledFault};
use super::{client_request, recovery, upstream_invariants};
use crate::fault_matrix::deadline;
use crate::sim_fleet::{SeededRng, SimFleet, SimOptions, run_simulated};

/// The number of requests of a schedule.
const REQUESTS: u64 = 20;
/// Longer than any call, with all its attempts and backoffs.
pub(super) const LONGEST_CALL: Duration = Duration::from_secs(5);
/// All work for a request must end this soon after its response or disconnect.
pub(super) const GRACE: Duration = Duration::from_millis(50);
/// After this time without faults everything has recovered. Longer than a circuit breaker stays open.
const RECOVERY_TIME: Duration = Duration::from_secs(90);

/// One client request and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its `X-Request-ID`.
    pub(crate) request_id: String,
    /// When the request was sent, as an offset from the fleet's start.
    pub(crate) at: Duration,
    pub(crate) elapsed: Duration,
    pub(crate) gateway: &'static str,
    pub(crate) operation: &'static str,
    /// The signed-in user; `None` is an anonymous caller.
    pub(crate) caller: Option<&'static str>,
    /// The request's deadline.
    pub(crate) deadline: Duration,
    /// Status and body; `None` if the client disconnected first or its connection was lost.
    pub(crate) response: Option<(u16, String)>,
    /// The state of each section.
    pub(crate) states: Vec<String>,
    /// The violated invariants.
    pub(crate) violations: Vec<String>,
}

/// The parts that all requests of a schedule share.
pub(super) struct Scenario<'a> {
    pub(super) fleet: &'a SimFleet,
    pub(super) faults: &'a [ScheduledFault],
    /// Whether gateways cache responses and share calls.
    pub(super) caching: bool,
    /// Whether a few calls are enough samples of a backend's latency. Calls are then hedged, and the deadline filter
    /// rejects calls.
    pub(super) latency_known: bool,
    pub(super) seed: u64,
    /// In a schedule with bursts: the only gateway that gets requests, several at the same moment.
    pub(super) burst_gateway: Option<&'static str>,
}

/// A request that a client is about to send.
pub(super) struct ClientRequest {
    pub(super) gateway: &'static str,
    pub(super) operation: &'static str,
    pub(super) caller: Option<&'static str>,
    /// The `Request-Timeout` of the client, if it sends one.
    pub(super) timeout: Option<Duration>,
    /// The client disconnects after this time.
    disconnect_after: Duration,
}

/// Cache entries that are fresh for a short part of a schedule and stale for the rest of it, by backend.
const CACHE_CONFIG: [(&str, &str); 3] = [
    ("product", "ttl = \"400ms\""),
    (
        "review",
        "ttl = \"300ms\"\nstale_while_revalidate = \"500ms\"",
    ),
    ("inventory", "ttl = \"500ms\""),
];

/// A schedule has enough calls for this number of latency samples.
const LATENCY_CONFIG: &str = "
[upstream_defaults.latency]
min_samples = 4
";

impl ClientRequest {
    /// A random request: 30 % have a timeout, 20 % disconnect within 500 ms.
    pub(super) fn random(
        rng: &mut SeededRng,
        gateway: &'static str,
        operation: &'static str,
        caller: Option<&'static str>,
    ) -> Self {
        let timeout = rng.chance(30).then(|| 50 + rng.below(1500));
        let timeout = timeout.map(Duration::from_millis);
        let disconnect_after = if rng.chance(20) {
            rng.up_to_millis(500)
        } else {
            Duration::from_secs(60)
        };
        Self {
            gateway,
            operation,
            caller,
            timeout: timeout.filter(|timeout| *timeout < deadline(gateway)),
            disconnect_after,
        }
    }

    /// A request whose client waits for the response.
    pub(super) fn patient(
        gateway: &'static str,
        operation: &'static str,
        caller: Option<&'static str>,
    ) -> Self {
        Self::with_disconnect(gateway, operation, caller, Duration::from_secs(60))
    }

    /// A request whose client disconnects after a time.
    pub(super) fn with_disconnect(
        gateway: &'static str,
        operation: &'static str,
        caller: Option<&'static str>,
        disconnect_after: Duration,
    ) -> Self {
        Self {
            gateway,
            operation,
            caller,
            timeout: None,
            disconnect_after,
        }
    }

    /// Sends the request. Returns the response, the reason why the connection was lost, or `None` after a disconnect.
    pub(super) async fn send(
        &self,
        scenario: &Scenario<'_>,
        mut request: Request<Full<Bytes>>,
        id: String,
    ) -> (Event, Option<Result<Response<Bytes>, String>>) {
        let headers = request.headers_mut();
        if let Some(timeout) = self.timeout {
            let millis = timeout.as_millis().to_string();
            headers.insert("request-timeout", millis.parse().unwrap());
        }
        headers.insert("x-request-id", id.parse().unwrap());
        let at = scenario.now();
        let response = scenario.fleet.send(self.gateway, request);
        let result = timeout(self.disconnect_after, response).await.ok();
        let elapsed = scenario.now().saturating_sub(at);
        let deadline = self.timeout.unwrap_or_else(|| deadline(self.gateway));
        let mut event = Event {
            request_id: id,
            at,
            elapsed,
            gateway: self.gateway,
            operation: self.operation,
            caller: self.caller,
            deadline,
            response: None,
            states: Vec::new(),
            violations: Vec::new(),
        };
        if let Some(Ok(response)) = &result {
            let body = String::from_utf8_lossy(response.body()).into_owned();
            event.response = Some((response.status().as_u16(), body));
            if elapsed > deadline + GRACE {
                event.violations.push("late".to_owned());
            }
        }
        (event, result)
    }
}

impl Scenario<'_> {
    /// The time since the fleet's start.
    pub(super) fn now(&self) -> Duration {
        self.fleet.record.now()
    }
}

/// Runs a schedule to its end; with `caching`, gateways cache responses and share calls.
pub(crate) fn run(seed: u64, caching: bool) -> Vec<Event> {
    LazyLock::force(&client_request::BASELINES);
    run_simulated(schedule(seed, caching))
}

/// The overlay of a gateway that caches, for the backends that it has.
fn cache_overlay(gateway: &Gateway) -> String {
    let mut overlay = "[cache]\nmax_bytes = 1000000\n".to_owned();
    for name in gateway.upstreams() {
        if let Some((_, keys)) = CACHE_CONFIG.iter().find(|(backend, _)| *backend == name) {
            for part in ["[upstreams.", name, ".cache]\n", keys, "\n"] {
                overlay.push_str(part);
            }
        }
    }
    overlay
}

pub(super) fn start_fleet(
    seed: u64,
    network_faults: bool,
    caching: bool,
    latency_known: bool,
) -> SimFleet {
    let extra_config: fn(&Gateway) -> String = match (caching, latency_known) {
        (false, false) => |_| String::new(),
        (true, false) => cache_overlay,
        (false, true) => |_| LATENCY_CONFIG.to_owned(),
        (true, true) => |gateway| cache_overlay(gateway) + LATENCY_CONFIG,
    };
    SimFleet::start(SimOptions {
        seed,
        only_gateway: None,
        network_faults,
        extra_config: Box::new(extra_config),
    })
}

// The labels of random streams ("measured", "throng", "till", …) are part of the seed: renaming one changes every schedule.
async fn schedule(seed: u64, caching: bool) -> Vec<Event> {
    let latency_known = SeededRng::new(seed, "measured", 0).chance(50);
    let fleet = start_fleet(seed, true, caching, latency_known);
    let (faults, started) = (fault_schedule::draw(seed), Instant::now());
    let mut rng = SeededRng::new(seed, "throng", 0);
    let names: Vec<&str> = fleet::GATEWAYS.iter().map(|g| g.name).collect();
    let burst_gateway = rng.chance(50).then(|| rng.pick(&names));
    let scenario = Scenario {
        fleet: &fleet,
        faults: &faults,
        caching,
        latency_known,
        seed,
        burst_gateway,
    };
    let checkouts = CheckoutClients::start(&scenario).await;
    let requests = join_all((0..REQUESTS).map(|n| send_request(&scenario, &checkouts, n)));
    let (mut log, ()) = join(requests, fault_schedule::apply(&fleet, &faults, started)).await;
    // Once every client has a response or disconnected, no call may continue, not even to a hanging backend. Only a
    // background revalidation may, until its own deadline.
    sleep(if caching { LONGEST_CALL } else { GRACE }).await;
    for backend in Backend::ALL {
        // All requests share the fetch of the issuer's keys, which has its own deadline. A write runs to its end.
        let may_continue = [Backend::Auth, Backend::Order, Backend::Payment].contains(&backend);
        let orphaned = fleet.mocks.stats(backend).in_flight > 0 && !may_continue;
        assert!(!orphaned, "seed {seed}: orphaned calls at {backend}");
    }
    sleep(LONGEST_CALL).await;
    upstream_invariants::check(&scenario, &mut log);
    checkouts.check_payments(&mut log).await;
    fleet.clear_faults();
    sleep(RECOVERY_TIME).await;
    let recovered = recovery::check(&scenario, &log).await;
    let retried = checkouts.retry_purchases(&log).await;
    log.extend(recovered);
    log.extend(retried);
    log.sort_by_key(|event| event.at);
    log
}

/// Sends the request with this number.
async fn send_request(scenario: &Scenario<'_>, checkouts: &CheckoutClients<'_>, n: u64) -> Event {
    let mut rng = SeededRng::new(scenario.seed, "client", n);
    let (delay, kind) = (rng.up_to_millis(4000), rng.below(100));
    // In a burst, several clients send at the same moment.
    let delay = match scenario.burst_gateway {
        Some(_) => Duration::from_millis(500 * u64::try_from(delay.as_millis() / 500).unwrap_or(0)),
        None => delay,
    };
    sleep(delay).await;
    let id = format!("r-{n}");
    if kind < 15 {
        checkouts.send_checkout(&mut rng, id).await
    } else if kind < 20 {
        checkouts.send_cancellation(&mut rng, id).await
    } else {
        client_request::send_random(scenario, &mut rng, id).await
    }
}
