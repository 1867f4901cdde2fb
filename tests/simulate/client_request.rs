//! Sends requests for screens and compares the responses with baselines, which are responses without faults.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use fleet::Callers;
use services_mock::Backend;
use tokio::time::sleep;

use super::response_invariants;
use super::schedule::{ClientRequest, Event, Scenario, start_fleet};
use crate::screens::{ScreenOperation, ScreenResponse, all_screens};
use crate::sim_fleet::{BackendCall, SeededRng, SimFleet, address, run_simulated};

/// The callers; `None` is anonymous.
pub(super) const CALLERS: [Option<&str>; 3] = [None, Some("ada"), Some("ben")];

/// A screen's response to one caller without faults.
pub(super) struct Baseline {
    pub(super) response: ScreenResponse,
    /// The number of calls to each backend, by method and path.
    pub(super) calls: BTreeMap<(Backend, String), usize>,
}

/// Baselines by gateway, operation and caller.
type Baselines = BTreeMap<(&'static str, &'static str, Option<&'static str>), Baseline>;

/// The baselines of every screen, at two different times.
pub(super) static BASELINES: LazyLock<[Baselines; 2]> = LazyLock::new(|| {
    run_simulated(async {
        let fleet = start_fleet(1, false, false, false);
        let now = collect_baselines(&fleet, "now").await;
        sleep(Duration::from_millis(1500)).await;
        [now, collect_baselines(&fleet, "later").await]
    })
});

async fn collect_baselines(fleet: &SimFleet, id_prefix: &str) -> Baselines {
    let mut baselines = Baselines::new();
    for screen in all_screens() {
        for caller in CALLERS {
            let operation = &*screen.operation;
            let id = format!("{id_prefix}-{}", baselines.len());
            let credential = screen.credential(&fleet.mocks, caller);
            let mut request = screen.request(&base_url(screen.gateway), credential.as_ref());
            (request.headers_mut()).insert("x-request-id", id.parse().unwrap());
            let response = fleet.send(screen.gateway, request).await.unwrap();
            let (head, body) = response.into_parts();
            let mut calls = BTreeMap::new();
            for BackendCall { backend, line, .. } in fleet.record.calls_of_request(&id) {
                *calls.entry((backend, line)).or_default() += 1;
            }
            let response = screen.parse_response(head.status.as_u16(), head.headers, &body);
            let key = (screen.gateway, operation, caller);
            baselines.insert(key, Baseline { response, calls });
        }
    }
    baselines
}

/// The baseline of an event's screen; `None` if the event requested no screen.
pub(super) fn baseline_of(event: &Event) -> Option<&'static Baseline> {
    BASELINES[0].get(&(event.gateway, event.operation, event.caller))
}

/// Sends a request for a random screen.
pub(super) async fn send_random(scenario: &Scenario<'_>, rng: &mut SeededRng, id: String) -> Event {
    let is_candidate =
        |s: &&ScreenOperation| scenario.burst_gateway.is_none_or(|name| s.gateway == name);
    let candidates: Vec<&ScreenOperation> = all_screens().iter().filter(is_candidate).collect();
    let mut screen = rng.pick(&candidates);
    // In a burst, many clients request the same screen at the same moment.
    if scenario.burst_gateway.is_some() && rng.chance(60) {
        let moment = u64::try_from(scenario.now().as_millis()).unwrap_or(0);
        screen = SeededRng::new(scenario.seed, "moment", moment).pick(&candidates);
    }
    let caller = rng.pick(&CALLERS);
    let request = ClientRequest::random(rng, screen.gateway, &screen.operation, caller);
    send_and_check(scenario, screen, &request, id).await
}

/// Sends a request for a screen and checks the response invariants.
pub(super) async fn send_and_check(
    scenario: &Scenario<'_>,
    screen: &'static ScreenOperation,
    client: &ClientRequest,
    id: String,
) -> Event {
    let credential = screen.credential(&scenario.fleet.mocks, client.caller);
    let request = screen.request(&base_url(screen.gateway), credential.as_ref());
    let (mut event, result) = client.send(scenario, request, id).await;
    let key = (screen.gateway, &*screen.operation, client.caller);
    let baselines = BASELINES
        .each_ref()
        .map(|baselines| &baselines[&key].response);
    let request = response_invariants::ScreenRequest {
        screen,
        signed_in: client.caller.is_some() && screen.callers() == Callers::People,
        id: event.request_id.clone(),
        from: event.at,
        until: event.at + event.elapsed,
    };
    match result {
        None => {}
        Some(Err(error)) => {
            let violations = response_invariants::check_lost_connection(scenario, &event, &error);
            event.violations.extend(violations);
        }
        Some(Ok(response)) => {
            let (head, body) = response.into_parts();
            let response = screen.parse_response(head.status.as_u16(), head.headers, &body);
            let violations =
                response_invariants::check_response(scenario, &request, &response, baselines);
            event.violations.extend(violations);
            let sections = response.sections.values();
            let states = sections.filter_map(|s| s["state"].as_str());
            event.states = states.map(str::to_owned).collect();
        }
    }
    event
}

fn base_url(gateway: &str) -> String {
    format!("http://{}", address(gateway))
}
