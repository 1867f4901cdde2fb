//! Every enrolled screen under every fault of every backend that it calls: what is lost is told, and nothing
//! else changes; what it cannot be without fails it with the truthful status; nobody waits, nothing is left.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;
use services_mock::{Backend, Fault, Mode};

use crate::fault_matrix::forget_hours;
use crate::screens::{Enrolled, Told, enrolled};
use crate::support::{Shop, instant, until};

/// Longer than a healthy call takes on a busy machine.
const ATTEMPT: Duration = Duration::from_millis(900);
/// What a client in a hurry says: less than an attempt.
const HURRY: Duration = Duration::from_millis(700);
/// Every gateway's deadline here.
const DEADLINE: Duration = Duration::from_secs(2);
/// What an answer may take beyond the deadline, on a busy machine.
const GRACE: Duration = Duration::from_millis(250);

/// A screen, its healthy answer, and the backends it called for it.
struct Healthy {
    screen: &'static Enrolled,
    told: Told,
    calls: BTreeSet<&'static str>,
}

/// A fault, the reason it gives, and the status it gives a screen that cannot be without.
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
        (Fault::latency(DEADLINE * 2), "deadline", 504),
    ]
}

/// What makes a gateway give up soon, on time and on size.
fn impatient(gateway: &fleet::Gateway) -> toml::Table {
    let millis = |time: Duration| toml::Value::from(format!("{}ms", time.as_millis()));
    let mut upstreams = toml::Table::new();
    for name in gateway.upstreams() {
        let mut upstream = toml::Table::new();
        upstream.insert("attempt_timeout".to_owned(), millis(ATTEMPT));
        upstream.insert("max_body_bytes".to_owned(), 262_144.into());
        // Each fault shows as what it is, however often it is met: one attempt, and no breaker that opens.
        let once = toml::Table::from_iter([("max_attempts".to_owned(), 1.into())]);
        upstream.insert("retry".to_owned(), once.into());
        let never = ["min_calls", "consecutive_failures"];
        let never = never.map(|name| (name.to_owned(), toml::Value::from(1_000_000)));
        upstream.insert(
            "circuit_breaker".to_owned(),
            toml::Table::from_iter(never).into(),
        );
        upstreams.insert(name.to_owned(), upstream.into());
    }
    let inbound = toml::Table::from_iter([("deadline".to_owned(), millis(DEADLINE))]);
    let tables = [("inbound", inbound), ("upstreams", upstreams)];
    toml::Table::from_iter(tables.map(|(name, table)| (name.to_owned(), table.into())))
}

/// A fleet that gives up soon, and each screen as it is while nothing is broken.
async fn open() -> (Shop, Vec<Healthy>) {
    let shop = Shop::with(|fleet| {
        for gateway in fleet::GATEWAYS {
            let overlay = impatient(gateway).to_string();
            fleet.overlays.insert(gateway.name.to_owned(), overlay);
        }
    })
    .await;
    // The first answers of a gateway fetch the issuer's keys.
    join_all(enrolled().iter().map(|screen| screen.ask(&shop, &[]))).await;
    let mut healthy = Vec::new();
    for screen in enrolled() {
        shop.fleet.mocks().clear_stats();
        let told = screen.ask(&shop, &[]).await;
        let called = |b: &Backend| shop.fleet.mocks().stats(*b).calls > 0;
        let calls = Backend::ALL.into_iter().filter(called).map(Backend::name);
        healthy.push(Healthy {
            screen,
            told,
            calls: calls.collect(),
        });
    }
    (shop, healthy)
}

#[tokio::test]
async fn a_healthy_screen_is_fresh_and_names_whom_it_called() {
    let (_shop, healthy) = open().await;
    for Healthy {
        screen,
        told,
        calls,
    } in &healthy
    {
        assert_eq!(
            (told.status, &told.code),
            (200, &None),
            "{screen:?}: {}",
            told.body
        );
        let sources = told.sections.values().flat_map(sources);
        assert_eq!(sources.collect::<BTreeSet<_>>(), *calls, "{screen:?}");
        for (name, section) in &told.sections {
            assert_eq!(section["state"], "fresh", "{screen:?}: {name}");
            assert!(
                told.shows(name).is_some(),
                "{screen:?}: {name}: {}",
                told.body
            );
        }
        for name in &screen.required {
            let told = told
                .sections
                .keys()
                .any(|n| n.split('.').next() == Some(name));
            assert!(told || name == "_meta", "{screen:?}: {name} is not told");
        }
    }
}

#[tokio::test]
async fn a_fault_takes_its_own_sections_and_nothing_else() {
    let (shop, healthy) = open().await;
    let hurry = HURRY.as_millis().to_string();
    for backend in Backend::ALL {
        let callers: Vec<&Healthy> = (healthy.iter())
            .filter(|h| h.calls.contains(backend.name()))
            .collect();
        for (fault, reason, status) in faults() {
            let (reason, status) = match backend {
                Backend::Playback => over_grpc(&fault, reason, status),
                _ => (reason, status),
            };
            shop.fleet
                .mocks()
                .set_fault(backend, fault.clone())
                .unwrap();
            let headers = [("request-timeout", hurry.as_str())];
            let (headers, bound) = match reason {
                "deadline" => (&headers[..], HURRY),
                _ => (&[][..], DEADLINE),
            };
            let begun = instant();
            let asking = callers.iter().map(|h| async {
                let told = h.screen.ask(&shop, headers).await;
                (*h, told, Instant::elapsed(&begun))
            });
            for (healthy, told, took) in join_all(asking).await {
                let case = format!("{backend}: {fault:?}: {:?}: {}", healthy.screen, told.body);
                assert!(took <= bound + GRACE, "{took:?}: {case}");
                check(healthy, &told, backend, reason, status, &case);
            }
            until(|| {
                Backend::ALL
                    .iter()
                    .all(|b| shop.fleet.mocks().stats(*b).in_flight == 0)
            })
            .await;
            shop.fleet.mocks().clear_faults(None);
        }
    }
}

#[tokio::test]
async fn hanging_up_cancels_what_is_under_way() {
    let (shop, healthy) = open().await;
    let mocks = shop.fleet.mocks();
    for backend in Backend::ALL {
        let callers: Vec<&Healthy> = (healthy.iter())
            .filter(|h| h.calls.contains(backend.name()))
            .collect();
        mocks.set_fault(backend, Fault::mode(Mode::Hang)).unwrap();
        let mut asking = Box::pin(join_all(callers.iter().map(|h| h.screen.ask(&shop, &[]))));
        let waited = until(|| mocks.stats(backend).in_flight >= callers.len() as u64);
        tokio::select! {
            biased;
            () = waited => {}
            _ = &mut asking => assert!(callers.is_empty(), "{backend} hangs and all answered"),
        }
        drop(asking);
        until(|| Backend::ALL.iter().all(|b| mocks.stats(*b).in_flight == 0)).await;
        mocks.clear_faults(None);
    }
}

/// The same over gRPC: a stream that is cut has no status at its end, so nothing was answered; one that never ends is
/// late, for its messages are bounded and not its length.
fn over_grpc<'a>(fault: &Fault, reason: &'a str, status: u16) -> (&'a str, u16) {
    match fault.mode {
        Some(Mode::Truncate) => ("unavailable", 503),
        Some(Mode::Endless) => ("timeout", 504),
        _ => (reason, status),
    }
}

/// What must hold for one screen that lost one backend.
fn check(healthy: &Healthy, told: &Told, from: Backend, reason: &str, status: u16, case: &str) {
    let screen = healthy.screen;
    let lost = |section: &Value| sources(section).any(|source| source == from.name());
    let mut all = healthy.told.sections.iter();
    let incomplete = told.header("etag").is_empty() && told.header("cache-control") == "no-store";
    assert!(incomplete, "{:?}: {case}", told.headers);
    if all.any(|(name, section)| lost(section) && screen.requires(name)) {
        assert_eq!(told.code.as_deref(), Some(reason), "{case}");
        if screen.document.is_none() {
            assert_eq!(told.status, status, "{case}");
            assert_eq!(
                told.header("content-type"),
                "application/problem+json",
                "{case}"
            );
            assert_eq!(
                told.header("retry-after").is_empty(),
                status != 503,
                "{case}"
            );
        }
        return;
    }
    assert_eq!((told.status, &told.code), (200, &None), "{case}");
    assert!(
        told.sections.keys().eq(healthy.told.sections.keys()),
        "{case}"
    );
    let mut header = Vec::new();
    for (name, section) in &told.sections {
        let was = &healthy.told.sections[name];
        if lost(was) {
            // Of several, the one that failed.
            assert_eq!(section["source"], from.name(), "{name}: {case}");
            assert_eq!(
                (&section["state"], &section["reason"]),
                (&"missing".into(), &reason.into()),
                "{name}: {case}"
            );
            assert_eq!(told.shows(name), None, "{name}: {case}");
        } else {
            assert_eq!(section["source"], was["source"], "{name}: {case}");
            assert_eq!(section["state"], "fresh", "{name}: {case}");
            let [shown, was] = [told, &healthy.told].map(|told| {
                let mut shown = serde_json::json!({ name: told.shows(name) });
                forget_hours(&mut shown);
                shown
            });
            assert_eq!(shown, was, "{name}: {case}");
        }
        header.push(format!(
            "{}={}",
            snake(name),
            section["state"].as_str().unwrap()
        ));
    }
    if screen.document.is_none() {
        assert_eq!(told.header("sections"), header.join(", "), "{case}");
        assert_eq!(told.body["_meta"]["complete"], false, "{case}");
    } else {
        for error in told.body["errors"].as_array().unwrap() {
            let section = error["path"][1].as_str().unwrap();
            assert_eq!(error["path"][0], screen.operation.as_str(), "{case}");
            assert_eq!(
                (
                    error["extensions"]["code"].as_str(),
                    told.sections[section]["state"].as_str()
                ),
                (Some(reason), Some("missing")),
                "{case}"
            );
        }
    }
}

/// The backends a section is made from.
fn sources(section: &Value) -> impl Iterator<Item = &str> {
    section["source"].as_str().unwrap_or_default().split(", ")
}

/// `continueWatching` as the header writes it.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
