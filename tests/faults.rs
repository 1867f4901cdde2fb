//! Every screen under every fault of every backend that it calls, over real sockets. Lost sections are reported, and all
//! other sections stay the same. A lost required section fails the screen with the right status. No call outlives its
//! request.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use services_mock::{Backend, Fault, Mode};

use crate::fault_matrix::remove_expiry;
use crate::screens::{ScreenOperation, ScreenResponse, all_screens};
use crate::support::{TestFleet, runs_all_cases, wait_until};

/// Longer than a baseline call takes on a busy machine.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(900);
/// The client's `Request-Timeout`, which is shorter than an attempt.
const CLIENT_TIMEOUT: Duration = Duration::from_millis(700);
/// Every gateway's deadline here.
const DEADLINE: Duration = Duration::from_secs(2);
/// Longer than any failure takes on a busy machine, and shorter than [`ENDLESS`].
const MAX_TIME: Duration = Duration::from_secs(15);
/// A time that no test waits for.
const ENDLESS: Duration = Duration::from_secs(120);

/// A screen, its response without faults, and the backends that it calls.
struct Baseline {
    screen: &'static ScreenOperation,
    response: ScreenResponse,
    calls: BTreeSet<&'static str>,
}

/// Each fault, its reason, and the status of a screen that requires the backend.
fn faults() -> Vec<(Fault, &'static str, u16)> {
    vec![
        (Fault::status(500), "bad_response", 502),
        (Fault::status(503), "unavailable", 503),
        (Fault::status(429), "overloaded", 503),
        (Fault::mode(Mode::Hang), "timeout", 504),
        (Fault::mode(Mode::Reset), "unavailable", 503),
        (Fault::mode(Mode::Truncate), "bad_response", 502),
        (Fault::mode(Mode::Malformed), "bad_response", 502),
        (Fault::mode(Mode::Endless), "bad_response", 502),
        (Fault::mode(Mode::GzipBomb), "bad_response", 502),
        (Fault::latency(ENDLESS), "deadline", 504),
    ]
}

/// A gateway's configuration with these timeouts, a small body limit, one attempt and no open circuit breaker.
fn overlay(gateway: &fleet::Gateway, attempt_timeout: Duration, deadline: Duration) -> toml::Table {
    let millis = |time: Duration| toml::Value::from(format!("{}ms", time.as_millis()));
    let mut upstreams = toml::Table::new();
    for name in gateway.upstreams() {
        let mut upstream = toml::Table::new();
        upstream.insert("attempt_timeout".to_owned(), millis(attempt_timeout));
        upstream.insert("max_body_bytes".to_owned(), 262_144.into());
        // Each fault then gives its own reason, however often it occurs.
        let retry = toml::Table::from_iter([("max_attempts".to_owned(), 1.into())]);
        upstream.insert("retry".to_owned(), retry.into());
        let thresholds = ["min_calls", "consecutive_failures"];
        let thresholds = thresholds.map(|name| (name.to_owned(), toml::Value::from(1_000_000)));
        upstream.insert(
            "circuit_breaker".to_owned(),
            toml::Table::from_iter(thresholds).into(),
        );
        upstreams.insert(name.to_owned(), upstream.into());
    }
    let inbound = toml::Table::from_iter([("deadline".to_owned(), millis(deadline))]);
    let tables = [("inbound", inbound), ("upstreams", upstreams)];
    toml::Table::from_iter(tables.map(|(name, table)| (name.to_owned(), table.into())))
}

/// Starts a fleet with these timeouts, and collects the baseline of each screen.
async fn start(attempt_timeout: Duration, deadline: Duration) -> (TestFleet, Vec<Baseline>) {
    let fleet = TestFleet::start_with(|fleet| {
        for gateway in fleet::GATEWAYS {
            let overlay = overlay(gateway, attempt_timeout, deadline);
            (fleet.overlays).insert(gateway.name.to_owned(), overlay.to_string());
        }
    })
    .await;
    // The first request to a gateway fetches the issuer's keys.
    join_all(all_screens().iter().map(|screen| screen.send(&fleet, &[]))).await;
    let mut baselines = Vec::new();
    for screen in all_screens() {
        fleet.running.mocks().clear_stats();
        let response = screen.send(&fleet, &[]).await;
        let called = |b: &Backend| fleet.running.mocks().stats(*b).calls > 0;
        let calls = Backend::ALL.into_iter().filter(called).map(Backend::name);
        baselines.push(Baseline {
            screen,
            response,
            calls: calls.collect(),
        });
    }
    (fleet, baselines)
}

#[tokio::test]
async fn a_healthy_screen_is_fresh_and_names_its_sources() {
    let (_fleet, baselines) = start(MAX_TIME, MAX_TIME).await;
    for Baseline {
        screen,
        response,
        calls,
    } in &baselines
    {
        assert_eq!(
            (response.status, &response.code),
            (200, &None),
            "{screen:?}: {}",
            response.body
        );
        let sources = response.sections.values().flat_map(sources);
        assert_eq!(sources.collect::<BTreeSet<_>>(), *calls, "{screen:?}");
        for (name, section) in &response.sections {
            assert_eq!(section["state"], "fresh", "{screen:?}: {name}");
            assert!(
                response.section_data(name).is_some(),
                "{screen:?}: {name}: {}",
                response.body
            );
        }
        for name in &screen.required {
            let mut sections = response.sections.keys();
            let reported = sections.any(|n| n.split('.').next() == Some(name));
            assert!(
                reported || name == "_meta",
                "{screen:?}: {name} is not in _meta"
            );
        }
    }
}

#[tokio::test]
async fn a_fault_removes_only_the_sections_of_its_backend() {
    let (fleet, baselines) = start(ATTEMPT_TIMEOUT, DEADLINE).await;
    let timeout = CLIENT_TIMEOUT.as_millis().to_string();
    for backend in Backend::ALL {
        let affected: Vec<&Baseline> = (baselines.iter())
            .filter(|b| b.calls.contains(backend.name()))
            .collect();
        for (n, (fault, reason, status)) in faults().into_iter().enumerate() {
            // An ordinary run has every second fault of a backend. The fault matrix has all of them without sockets.
            if !runs_all_cases() && (n + backend as usize) % 2 == 1 {
                continue;
            }
            let (reason, status) = match backend {
                Backend::Playback => over_grpc(&fault, reason, status),
                _ => (reason, status),
            };
            fleet
                .running
                .mocks()
                .set_fault(backend, fault.clone())
                .unwrap();
            let headers = [("request-timeout", timeout.as_str())];
            let headers = match reason {
                "deadline" => &headers[..],
                _ => &[],
            };
            let requests = affected.iter().map(|baseline| async {
                let response = baseline.screen.send(&fleet, headers);
                let case = format!("{backend}: {fault:?}: {:?}", baseline.screen);
                let response = tokio::time::timeout(MAX_TIME, response).await;
                let response = response.unwrap_or_else(|_| panic!("no response: {case}"));
                let case = format!("{case}: {}", response.body);
                check(baseline, &response, backend, reason, status, &case);
            });
            join_all(requests).await;
            wait_until(|| {
                Backend::ALL
                    .iter()
                    .all(|b| fleet.running.mocks().stats(*b).in_flight == 0)
            })
            .await;
            fleet.running.mocks().clear_faults(None);
        }
    }
}

#[tokio::test]
async fn disconnecting_cancels_every_call() {
    // No timeout ends a call here, so only the disconnect can.
    let (fleet, baselines) = start(ENDLESS, ENDLESS).await;
    let mocks = fleet.running.mocks();
    for backend in Backend::ALL {
        let affected: Vec<&Baseline> = (baselines.iter())
            .filter(|b| b.calls.contains(backend.name()))
            .collect();
        mocks.set_fault(backend, Fault::mode(Mode::Hang)).unwrap();
        let requests = affected.iter().map(|b| b.screen.send(&fleet, &[]));
        let mut requests = Box::pin(join_all(requests));
        let all_called = wait_until(|| mocks.stats(backend).in_flight >= affected.len() as u64);
        tokio::select! {
            biased;
            () = all_called => {}
            _ = &mut requests => assert!(affected.is_empty(), "{backend} hangs, but all requests got a response"),
        }
        drop(requests);
        wait_until(|| Backend::ALL.iter().all(|b| mocks.stats(*b).in_flight == 0)).await;
        mocks.clear_faults(None);
    }
}

/// The reason and the status over gRPC. A truncated stream has no final status, so the call is unavailable. An endless
/// stream times out, because only the size of a message is limited.
fn over_grpc<'a>(fault: &Fault, reason: &'a str, status: u16) -> (&'a str, u16) {
    match fault.mode {
        Some(Mode::Truncate) => ("unavailable", 503),
        Some(Mode::Endless) => ("timeout", 504),
        _ => (reason, status),
    }
}

/// Checks the response of one screen while one of its backends fails.
fn check(
    baseline: &Baseline,
    response: &ScreenResponse,
    backend: Backend,
    reason: &str,
    status: u16,
    case: &str,
) {
    let screen = baseline.screen;
    let lost = |section: &Value| sources(section).any(|source| source == backend.name());
    let mut all = baseline.response.sections.iter();
    let incomplete =
        response.header("etag").is_empty() && response.header("cache-control") == "no-store";
    assert!(incomplete, "{:?}: {case}", response.headers);
    if all.any(|(name, section)| lost(section) && screen.requires(name)) {
        assert_eq!(response.code.as_deref(), Some(reason), "{case}");
        if screen.document.is_none() {
            assert_eq!(response.status, status, "{case}");
            assert_eq!(
                response.header("content-type"),
                "application/problem+json",
                "{case}"
            );
            assert_eq!(
                response.header("retry-after").is_empty(),
                status != 503,
                "{case}"
            );
        }
        return;
    }
    assert_eq!((response.status, &response.code), (200, &None), "{case}");
    assert!(
        response
            .sections
            .keys()
            .eq(baseline.response.sections.keys()),
        "{case}"
    );
    let mut header = Vec::new();
    for (name, section) in &response.sections {
        let expected = &baseline.response.sections[name];
        if lost(expected) {
            // A section with several sources names the one that failed.
            assert_eq!(section["source"], backend.name(), "{name}: {case}");
            assert_eq!(
                (&section["state"], &section["reason"]),
                (&"missing".into(), &reason.into()),
                "{name}: {case}"
            );
            assert_eq!(response.section_data(name), None, "{name}: {case}");
        } else {
            assert_eq!(section["source"], expected["source"], "{name}: {case}");
            assert_eq!(section["state"], "fresh", "{name}: {case}");
            let [data, expected] = [response, &baseline.response].map(|response| {
                let mut data = serde_json::json!({ name: response.section_data(name) });
                remove_expiry(&mut data);
                data
            });
            assert_eq!(data, expected, "{name}: {case}");
        }
        header.push(format!(
            "{}={}",
            to_snake_case(name),
            section["state"].as_str().unwrap()
        ));
    }
    if screen.document.is_none() {
        assert_eq!(response.header("sections"), header.join(", "), "{case}");
        assert_eq!(response.body["_meta"]["complete"], false, "{case}");
    } else {
        for error in response.body["errors"].as_array().unwrap() {
            let section = error["path"][1].as_str().unwrap();
            assert_eq!(error["path"][0], screen.operation.as_str(), "{case}");
            assert_eq!(
                (
                    error["extensions"]["code"].as_str(),
                    response.sections[section]["state"].as_str()
                ),
                (Some(reason), Some("missing")),
                "{case}"
            );
        }
    }
}

/// The backends of a section.
fn sources(section: &Value) -> impl Iterator<Item = &str> {
    section["source"].as_str().unwrap_or_default().split(", ")
}

/// Converts `continueWatching` to `continue_watching`, as in the header.
fn to_snake_case(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
