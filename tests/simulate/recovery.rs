//! Recovery after the faults: sections that an open circuit breaker removed must return, for all callers at once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use services_mock::{Backend, Fault};
use tokio::time::sleep;

use super::client_request::{BASELINES, Baseline, CALLERS, baseline_of, send_and_check};
use super::schedule::{ClientRequest, Event, GRACE, Scenario};
use crate::screens::{ScreenOperation, all_screens};
use crate::sim_fleet::SeededRng;

/// The most requests until a circuit breaker must be closed.
const MAX_ATTEMPTS: u32 = 8;
/// The successful calls that close a half-open circuit breaker, as shipped (`half_open_successes`).
const HALF_OPEN_SUCCESSES: u32 = 3;
/// Longer than a cache entry is usable in a schedule with caching, so that each request calls the backend.
const CACHE_EXPIRY: Duration = Duration::from_secs(2);
/// The backend latency while clients disconnect early.
const LATENCY: Duration = Duration::from_millis(30);
/// More requests than a half-open circuit breaker permits, and fewer than a gateway's minimum concurrency limit.
const BURST: usize = 12;

/// A screen and its caller.
type CallerScreen = (&'static ScreenOperation, Option<&'static str>);

/// For each lost screen: some clients disconnect early, then others retry until the screen is complete. At last, many
/// clients send requests at once.
pub(super) async fn check(scenario: &Scenario<'_>, log: &[Event]) -> Vec<Event> {
    let mut events = Vec::new();
    let lost = lost_screens(log);
    for (n, target) in lost.iter().enumerate() {
        let clients = RecoveryClients(scenario, format!("again-{n}"));
        events.extend(clients.disconnect_early(*target).await);
        events.extend(clients.retry_until_complete(*target).await);
    }
    let gateways: BTreeSet<&str> = lost.iter().map(|(screen, _)| screen.gateway).collect();
    for gateway in gateways {
        let clients = RecoveryClients(scenario, format!("all-{gateway}"));
        events.extend(clients.send_burst(gateway, &lost).await);
    }
    events
}

/// The screens that lost a section to an open circuit breaker.
fn lost_screens(log: &[Event]) -> Vec<CallerScreen> {
    let has_open_circuit = |e: &&Event| {
        let response = e.response.as_ref();
        let open = response.is_some_and(|(_, body)| body.contains("circuit_open"));
        baseline_of(e).is_some() && open
    };
    let lost = log.iter().filter(has_open_circuit);
    let lost: BTreeSet<_> = lost.map(|e| (e.gateway, e.operation, e.caller)).collect();
    let target = |(gateway, operation, caller)| {
        let matches = |s: &&ScreenOperation| s.gateway == gateway && s.operation == operation;
        (all_screens().iter().find(matches).unwrap(), caller)
    };
    lost.into_iter().map(target).collect()
}

fn baseline((screen, caller): CallerScreen) -> &'static Baseline {
    &BASELINES[0][&(screen.gateway, &*screen.operation, caller)]
}

fn backends(target: CallerScreen) -> BTreeSet<Backend> {
    let calls = baseline(target).calls.keys();
    let backends = calls.map(|(backend, _)| *backend);
    // The issuer's keys are in the gateway's memory by then.
    backends.filter(|b| *b != Backend::Auth).collect()
}

/// Whether the response has every section of the baseline.
fn is_complete(event: &Event, target: CallerScreen) -> bool {
    let expected = &baseline(target).response;
    let status = event.response.as_ref().map(|(status, _)| *status);
    status == Some(expected.status)
        && event.states.len() == expected.sections.len()
        && event.states.iter().all(|state| state != "missing")
}

/// Clients after the faults, and the prefix of their request ids.
struct RecoveryClients<'a>(&'a Scenario<'a>, String);

impl RecoveryClients<'_> {
    async fn send(
        &self,
        (screen, caller): CallerScreen,
        disconnect_after: Option<Duration>,
        id_suffix: String,
    ) -> Event {
        let (gateway, operation) = (screen.gateway, &screen.operation);
        let request = match disconnect_after {
            Some(time) => ClientRequest::with_disconnect(gateway, operation, caller, time),
            None => ClientRequest::patient(gateway, operation, caller),
        };
        let id = format!("{}-{id_suffix}", self.1);
        send_and_check(self.0, screen, &request, id).await
    }

    /// Clients disconnect one after the other while healthy backends respond slowly. A disconnect must not count as a
    /// backend failure, and must release every permit.
    async fn disconnect_early(&self, target: CallerScreen) -> Vec<Event> {
        let mocks = &self.0.fleet.mocks;
        for backend in backends(target) {
            mocks.set_fault(backend, Fault::latency(LATENCY)).unwrap();
        }
        let mut events = Vec::new();
        for attempt in 0..HALF_OPEN_SUCCESSES {
            events.push(
                self.send(target, Some(LATENCY / 2), format!("leaves-{attempt}"))
                    .await,
            );
        }
        sleep(GRACE).await;
        for backend in backends(target) {
            let in_flight = mocks.stats(backend).in_flight;
            assert_eq!(
                in_flight, 0,
                "seed {}: orphaned calls at {backend}",
                self.0.seed
            );
            mocks.clear_faults(Some(backend));
        }
        events
    }

    /// Sends requests one after the other. Each calls the backend, because cache entries expire in between.
    async fn retry_until_complete(&self, target: CallerScreen) -> Vec<Event> {
        let (mut events, mut complete): (Vec<Event>, u32) = (Vec::new(), 0);
        for attempt in 0..MAX_ATTEMPTS {
            sleep(CACHE_EXPIRY).await;
            let event = self.send(target, None, attempt.to_string()).await;
            complete += u32::from(is_complete(&event, target));
            events.push(event);
            if complete == HALF_OPEN_SUCCESSES {
                return events;
            }
        }
        if let Some(last) = events.last_mut() {
            last.violations.push("it has not recovered".to_owned());
        }
        events
    }

    /// Sends many requests at once, for screens that need only recovered backends. Every circuit breaker is closed.
    async fn send_burst(&self, gateway: &str, lost: &[CallerScreen]) -> Vec<Event> {
        sleep(CACHE_EXPIRY).await;
        let lost = lost.iter().filter(|(screen, _)| screen.gateway == gateway);
        let recovered: BTreeSet<Backend> = lost.flat_map(|target| backends(*target)).collect();
        let screens = all_screens().iter().filter(|s| s.gateway == gateway);
        let all = screens.flat_map(|screen| CALLERS.map(|caller| (screen, caller)));
        let mut targets: Vec<CallerScreen> = all
            .filter(|target| backends(*target).is_subset(&recovered))
            .collect();
        let mut rng = SeededRng::new(self.0.seed, "all at once", 0);
        targets.sort_by_cached_key(|_| rng.below(1 << 32));
        targets.truncate(BURST);
        let requests = targets.iter().enumerate();
        let requests = requests.map(|(n, target)| self.send(*target, None, n.to_string()));
        let mut events = join_all(requests).await;
        for (event, target) in events.iter_mut().zip(targets) {
            if !is_complete(event, target) {
                event
                    .violations
                    .push("it has not recovered for all callers".to_owned());
            }
        }
        events
    }
}
