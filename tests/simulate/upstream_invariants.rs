//! Checks the calls that reached the backends: their identity, their number, their timeouts and their ends.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::{Callers, GATEWAYS};
use services_mock::Backend;

use super::client_request;
use super::schedule::{Event, GRACE, Scenario};
use crate::sim_fleet::BackendCall;

/// The most attempts of one call.
const MAX_ATTEMPTS: usize = 2;
/// The most extra attempts of one request.
const MAX_EXTRA_PER_REQUEST: usize = 3;
/// The shipped retry budget: one extra attempt per ten calls.
const CALLS_PER_RETRY: usize = 10;
/// The shipped reserve of the retry budget, with the one token that is refilled within a schedule.
const RETRY_RESERVE: usize = 3 + 1;

/// The needed calls and the extra attempts of each gateway at each backend.
type CallCounts = BTreeMap<(&'static str, Backend), (usize, usize)>;

/// Adds each violation to the request that caused it. A background revalidation belongs to no request.
pub(super) fn check(scenario: &Scenario<'_>, log: &mut [Event]) {
    let mut by_request: BTreeMap<String, Vec<BackendCall>> = BTreeMap::new();
    for call in scenario.fleet.record.calls() {
        let id = call.request_id.clone();
        by_request.entry(id).or_default().push(call);
    }
    let requests: Vec<_> = (log.iter())
        .map(|e| (e.gateway, e.at, e.at + e.elapsed))
        .collect();
    let mut counts = CallCounts::default();
    for event in log.iter_mut() {
        let calls = by_request.remove(&event.request_id).unwrap_or_default();
        let calls = calls.iter().filter(|c| c.backend != Backend::Auth);
        let calls: Vec<&BackendCall> = calls.collect();
        check_identity(&calls, event);
        check_attempts(&calls, event, &mut counts);
        if client_request::baseline_of(event).is_some() {
            check_timeouts(scenario, &calls, event);
            check_ends(scenario, &calls, event, &requests);
        }
    }
    // A shared call belongs to several requests, and a revalidation to none, so they cannot be counted per request.
    if !scenario.caching {
        check_retry_budgets(scenario, &counts, log);
    }
    let mut unowned = by_request.into_values().flatten();
    let identified =
        unowned.find(|c| c.user.is_some() && c.request_id != super::checkout::LEDGER_REQUEST_ID);
    assert!(
        identified.is_none(),
        "seed {}: a call with an identity belongs to no request: {identified:?}",
        scenario.seed
    );
}

/// A call identifies its own caller or no user; a call for public data identifies no user.
fn check_identity(calls: &[&BackendCall], event: &mut Event) {
    let serves_people =
        |g: &&fleet::Gateway| g.name == event.gateway && g.callers() == Callers::People;
    let caller = (event.caller).filter(|_| GATEWAYS.iter().any(|g| serves_people(&g)));
    for call in calls.iter().filter(|call| !call.identifies_only(caller)) {
        event.violations.push(format!("wrong identity: {call:?}"));
    }
}

/// No call exceeds its attempts, no call is unnecessary, and a request has few extra attempts in total.
fn check_attempts(calls: &[&BackendCall], event: &mut Event, counts: &mut CallCounts) {
    let mut by_line: BTreeMap<(Backend, &str), usize> = BTreeMap::new();
    for call in calls {
        *by_line.entry((call.backend, &call.line)).or_default() += 1;
    }
    // A checkout reads the order's status before it authorizes the payment, and again before it captures the payment.
    let paid = by_line
        .keys()
        .any(|(backend, _)| *backend == Backend::Payment);
    let mut total_extra = 0;
    for ((backend, line), count) in by_line {
        let (needed, max) = match client_request::baseline_of(event) {
            Some(baseline) => {
                let needed = baseline.calls.get(&(backend, line.to_owned()));
                let needed = needed.copied().unwrap_or_default();
                (needed, needed * MAX_ATTEMPTS)
            }
            // A proxied write without an idempotency key must not be retried.
            None if event.operation == "cancel" => (1, 1),
            None if paid && line.starts_with("GET /orders/") => (2, 2 * MAX_ATTEMPTS),
            None => (1, MAX_ATTEMPTS),
        };
        let extra = count.saturating_sub(needed);
        let totals = counts.entry((event.gateway, backend)).or_default();
        *totals = (totals.0 + needed, totals.1 + extra);
        total_extra += extra;
        if count > max {
            event
                .violations
                .push(format!("{line} at {backend} {count} times, at most {max}"));
        }
    }
    if total_extra > MAX_EXTRA_PER_REQUEST {
        event
            .violations
            .push(format!("{total_extra} extra attempts"));
    }
}

/// The extra attempts of a gateway at a backend stay within the retry budget. A restarted gateway has a new budget.
fn check_retry_budgets(scenario: &Scenario<'_>, counts: &CallCounts, log: &mut [Event]) {
    for ((gateway, backend), (calls, extra)) in counts {
        let restarts = scenario.faults.iter().filter(|f| f.instance == *gateway);
        let max = calls / CALLS_PER_RETRY + RETRY_RESERVE * (1 + restarts.count());
        let last = log.iter_mut().rfind(|event| event.gateway == *gateway);
        if let Some(last) = last.filter(|_| *extra > max) {
            let violation =
                format!("{extra} extra attempts at {backend} of {calls} calls, at most {max}");
            last.violations.push(violation);
        }
    }
}

/// No call gets more time than its request has left. A shared call may have the longer time of another waiter.
fn check_timeouts(scenario: &Scenario<'_>, calls: &[&BackendCall], event: &mut Event) {
    let deadline = event.at + event.deadline;
    for call in calls {
        let valid = call.times_out_by(deadline) || scenario.caching && call.timeout.is_some();
        if !valid {
            event
                .violations
                .push(format!("the deadline is {deadline:?}, but: {call:?}"));
        }
    }
}

/// No call continues after its request ended. A shared call may continue until its last waiter ends.
fn check_ends(
    scenario: &Scenario<'_>,
    calls: &[&BackendCall],
    event: &mut Event,
    requests: &[(&str, Duration, Duration)],
) {
    let end = event.at + event.elapsed + GRACE;
    for call in calls {
        let ended_at = call.ended_at.unwrap_or(Duration::MAX);
        let last_wait = ended_at.saturating_sub(GRACE);
        let shared = scenario.caching
            && requests.iter().any(|(gateway, from, until)| {
                *gateway == event.gateway && *from <= last_wait && last_wait <= *until
            });
        if ended_at > end && !shared {
            event.violations.push(format!("orphaned: {call:?}"));
        }
    }
}
