//! Checks that a response is correct: against the baseline, and against the faults that were present.

use std::time::Duration;

use serde_json::{Value, json};
use services_mock::{Fault, Mode};

use super::fault_schedule::ScheduledFault;
use super::schedule::{Event, GRACE, LONGEST_CALL, Scenario};
use crate::fault_matrix::{remove_section, sections_header, sources, status_of};
use crate::screens::{ScreenOperation, ScreenResponse};
use crate::sim_fleet::ConnectionError;

/// The parts of a request that the invariants depend on.
pub(super) struct ScreenRequest {
    pub(super) screen: &'static ScreenOperation,
    pub(super) signed_in: bool,
    pub(super) id: String,
    pub(super) from: Duration,
    pub(super) until: Duration,
}

/// A connection may only be lost if its gateway stopped.
pub(super) fn check_lost_connection(
    scenario: &Scenario<'_>,
    event: &Event,
    error: &str,
) -> Vec<String> {
    let (from, until) = (event.at, event.at + event.elapsed);
    let stopped = |f: &ScheduledFault| f.instance == event.gateway && f.overlaps(from, until);
    if scenario.faults.iter().any(stopped) {
        Vec::new()
    } else {
        vec![format!("the connection was lost: {error}")]
    }
}

/// Returns every violation in a response. The baselines are two responses without faults, at different times.
pub(super) fn check_response(
    scenario: &Scenario<'_>,
    request: &ScreenRequest,
    response: &ScreenResponse,
    [baseline, later]: [&ScreenResponse; 2],
) -> Vec<String> {
    if let Some(code) = &response.code {
        return check_failure(scenario, request, response, baseline, code);
    }
    let mut violations = Vec::new();
    let mut check = |violation: String, holds: bool| {
        if !holds {
            violations.push(violation);
        }
    };
    check(
        format!("status {}", response.status),
        response.status == 200,
    );
    let mut expected = baseline.data.clone();
    let mut incomplete = false;
    for (name, section) in &response.sections {
        let state = section["state"].as_str().unwrap_or_default();
        let reason = section["reason"].as_str().unwrap_or_default();
        match state {
            "fresh" => {
                let mut sources = sources(section);
                let called = sources.all(|source| was_called(scenario, request, source));
                check(format!("{name} is fresh without a call"), called);
            }
            "cached" | "stale" => {
                let is_from = |backend: &str| sources(section).any(|s| s == backend);
                check(format!("{name} was cached"), !is_from("user"));
                let age = section["ageMs"].as_u64().map(Duration::from_millis);
                let mut sources = sources(section);
                let fetched = age.is_some_and(|age| {
                    sources.any(|source| was_fetched(scenario, request, source, age))
                });
                check(format!("{name} is {state} of age {age:?}"), fetched);
                let stale_stock = state == "stale" && is_from("inventory");
                check(format!("{name} is stale"), !stale_stock);
            }
            "missing" => {
                remove_section(&mut expected, name);
                let in_baseline =
                    baseline.sections.get(name).map(|s| &s["reason"]) == Some(&json!(reason));
                incomplete |= !in_baseline;
                let mut sources = sources(section);
                let justified = in_baseline
                    || sources.any(|source| is_justified(scenario, request, source, reason))
                    || reason == "deadline" && was_slowed(scenario, request, baseline);
                check(format!("{name} is missing for {reason}"), justified);
            }
            other => check(format!("{name} is {other}"), false),
        }
    }
    check(
        format!("sections {:?}", response.sections.keys()),
        response.sections.keys().eq(baseline.sections.keys()),
    );
    let mut data = response.data.clone();
    reset_times(&mut data, &baseline.data, &later.data);
    for data in [&mut expected, &mut data] {
        data.as_object_mut().map(|members| members.remove("_meta"));
    }
    check(format!("the data is not {expected}"), data == expected);
    let (header, members) = sections_header(request.screen, response);
    check(
        format!("the Sections header is {header:?}"),
        header == Some(members),
    );
    if request.screen.document.is_none() {
        let complete = response.body["_meta"]["complete"] == Value::Bool(!incomplete);
        check("the member complete is wrong".to_owned(), complete);
    }
    if incomplete {
        let cacheable =
            response.header("cache-control") != "no-store" || !response.header("etag").is_empty();
        check("an incomplete response is cacheable".to_owned(), !cacheable);
    }
    violations
}

/// Checks the code and the status of a failed screen.
fn check_failure(
    scenario: &Scenario<'_>,
    request: &ScreenRequest,
    response: &ScreenResponse,
    baseline: &ScreenResponse,
    code: &str,
) -> Vec<String> {
    let mut violations = Vec::new();
    let same = response.code == baseline.code;
    let required = baseline.sections.iter();
    let required = required.filter(|(name, _)| request.screen.requires(name));
    let mut required_sources = required.flat_map(|(_, section)| sources(section));
    let justified = same
        || required_sources.any(|source| is_justified(scenario, request, source, code))
        || code == "deadline" && was_slowed(scenario, request, baseline)
        || request.signed_in && sign_in_failed(scenario, request, code);
    if !justified {
        violations.push(format!("failed with {code}"));
    }
    let graphql = request.screen.document.is_some() && response.status == 200;
    if !(same || graphql || response.status == status_of(code)) {
        violations.push(format!("status {} for {code}", response.status));
    }
    violations
}

/// Resets each text that depends on the time, such as the expiry of a URL, to its value in the first baseline.
fn reset_times(data: &mut Value, now: &Value, later: &Value) {
    match (data, now, later) {
        (Value::Object(data), Value::Object(now), Value::Object(later)) => {
            for (name, value) in data {
                if let (Some(now), Some(later)) = (now.get(name), later.get(name)) {
                    reset_times(value, now, later);
                }
            }
        }
        (Value::Array(data), Value::Array(now), Value::Array(later)) => {
            for ((value, now), later) in data.iter_mut().zip(now).zip(later) {
                reset_times(value, now, later);
            }
        }
        (data @ Value::String(_), Value::String(now), Value::String(later)) if now != later => {
            *data = Value::String(now.clone());
        }
        _ => {}
    }
}

/// Whether a call for this request, or with caching a call that it may share, was in progress.
fn was_called(scenario: &Scenario<'_>, request: &ScreenRequest, source: &str) -> bool {
    scenario.fleet.record.any_call(|call| {
        let overlaps = || {
            let ended = (call.ended_at).is_some_and(|end| end + GRACE < request.from);
            call.at <= request.until && !ended
        };
        call.backend.name() == source
            && (call.request_id == request.id || scenario.caching && overlaps())
    })
}

/// Whether a cache entry can have this age: a call was sent to the backend at that time.
fn was_fetched(
    scenario: &Scenario<'_>,
    request: &ScreenRequest,
    source: &str,
    age: Duration,
) -> bool {
    let since = (request.from).saturating_sub(age + GRACE);
    let until = (request.until + GRACE).saturating_sub(age);
    let fetch_time = since..=until;
    (scenario.fleet.record)
        .any_call(|call| call.backend.name() == source && fetch_time.contains(&call.at))
}

/// Whether a fault at any of the screen's backends used up the request's time.
fn was_slowed(scenario: &Scenario<'_>, request: &ScreenRequest, baseline: &ScreenResponse) -> bool {
    let all = baseline.sections.values().flat_map(sources);
    (all.chain(["auth"])).any(|source| is_justified(scenario, request, source, "deadline"))
}

/// Whether a reason is justified: a fault that causes it was active at the backend in the time that matters.
fn is_justified(
    scenario: &Scenario<'_>,
    request: &ScreenRequest,
    source: &str,
    reason: &str,
) -> bool {
    let (from, until) = (request.from, request.until);
    let from = match reason {
        // A circuit breaker opens after earlier failures.
        "circuit_open" => Duration::ZERO,
        // The deadline filter uses earlier latencies.
        "deadline" if scenario.latency_known => Duration::ZERO,
        // A shared call may have met its fault before this request joined.
        _ if scenario.caching => from.saturating_sub(LONGEST_CALL),
        _ => from,
    };
    let faults = (scenario.faults.iter()).filter(|fault| fault.instance == source);
    let mut faults = faults
        .filter(|fault| fault.overlaps(from, until))
        .peekable();
    let connections = (scenario.fleet.record).failures_between(source, from, until);
    let grpc = source == "playback";
    match reason {
        "circuit_open" | "deadline" => faults.peek().is_some() || !connections.is_empty(),
        "unavailable" if !connections.is_empty() => true,
        "bad_response" if connections.contains(&ConnectionError::Cut) => true,
        _ => faults.any(|scheduled| match &scheduled.fault {
            Some(fault) => causes(fault, grpc, reason),
            None => ["unavailable", "bad_response"].contains(&reason),
        }),
    }
}

/// Whether a backend fault causes a reason.
fn causes(fault: &Fault, grpc: bool, reason: &str) -> bool {
    let no_response = match fault.mode {
        None => fault.status.is_none(),
        Some(Mode::Hang) => true,
        Some(Mode::Endless) => grpc,
        Some(_) => false,
    };
    match reason {
        "timeout" => no_response || fault.latency.is_some(),
        "overloaded" => fault.status == Some(429),
        "unavailable" => {
            fault.status == Some(503)
                || fault.mode == Some(Mode::Reset)
                || grpc && fault.mode == Some(Mode::Truncate)
        }
        "bad_response" => {
            let status = fault.status.is_some_and(|s| ![429, 503].contains(&s));
            let modes = [
                Mode::Truncate,
                Mode::Malformed,
                Mode::Endless,
                Mode::GzipBomb,
            ];
            status || fault.mode.is_some_and(|mode| modes.contains(&mode))
        }
        _ => false,
    }
}

/// Whether the issuer's keys were unavailable, so that no caller could sign in.
fn sign_in_failed(scenario: &Scenario<'_>, request: &ScreenRequest, code: &str) -> bool {
    let issuer_stopped = |f: &ScheduledFault| f.instance == "auth" && f.from <= request.until;
    let stopped = scenario.faults.iter().any(issuer_stopped);
    let failures = (scenario.fleet.record).failures_between("auth", Duration::ZERO, request.until);
    match code {
        "unavailable" | "deadline" => stopped || !failures.is_empty(),
        _ => false,
    }
}
