//! Whether what an answer says is so: held against the healthy page, and against what really broke and when.

use std::time::Duration;

use serde_json::{Value, json};
use services_mock::{Fault, Mode};

use super::fault_schedule::Strike;
use super::schedule::{Event, GRACE, LONGEST_CALL, Scene};
use crate::fault_matrix::{sections_header, sources, status, take};
use crate::screens::{Enrolled, Told};
use crate::sim_fleet::How;

/// A request, as far as the truth depends on it.
pub(super) struct Asked {
    pub(super) screen: &'static Enrolled,
    pub(super) signed_in: bool,
    /// Its id.
    pub(super) request: String,
    pub(super) from: Duration,
    pub(super) until: Duration,
}

/// A connection may only be lost with its gateway.
pub(super) fn of_a_loss(scene: &Scene<'_>, event: &Event, why: &str) -> Vec<String> {
    let (from, until) = (event.at, event.at + event.took);
    let here = |s: &&Strike| s.place == event.gateway && s.overlaps(from, until);
    let gone = scene.strikes.iter().any(|s| here(&s));
    if gone {
        Vec::new()
    } else {
        vec![format!("the connection was lost: {why}")]
    }
}

/// Every promise that an answer breaks; `healthy` are two of the same without a mishap, at different times.
pub(super) fn of_an_answer(
    scene: &Scene<'_>,
    asked: &Asked,
    told: &Told,
    [healthy, later]: [&Told; 2],
) -> Vec<String> {
    let mut broken = Vec::new();
    let mut hold = |what: String, holds: bool| {
        if !holds {
            broken.push(what);
        }
    };
    if let Some(code) = &told.code {
        let same = told.code == healthy.code;
        let required = healthy.sections.iter();
        let required = required.filter(|(name, _)| asked.screen.requires(name));
        let mut of = required.flat_map(|(_, section)| sources(section));
        let mended = same
            || of.any(|source| is_so(scene, asked, source, code))
            || code == "deadline" && was_slowed(scene, asked, healthy)
            || asked.signed_in && was_kept_out(scene, asked, code);
        hold(format!("refused with {code}"), mended);
        let graphql = asked.screen.document.is_some() && told.status == 200;
        let truthful = same || graphql || told.status == status(code);
        hold(format!("{} for {code}", told.status), truthful);
        return broken;
    }
    hold(format!("status {}", told.status), told.status == 200);
    let mut wanted = healthy.data.clone();
    let mut lost = false;
    for (name, section) in &told.sections {
        let state = section["state"].as_str().unwrap_or_default();
        let reason = section["reason"].as_str().unwrap_or_default();
        match state {
            "fresh" => {
                let mut of = sources(section);
                let asked = of.all(|source| was_asked(scene, asked, source));
                hold(format!("{name} is fresh"), asked);
            }
            "cached" | "stale" => {
                let kept_by = |source: &str| sources(section).any(|s| s == source);
                hold(format!("{name} was kept"), !kept_by("user"));
                let age = section["ageMs"].as_u64().map(Duration::from_millis);
                let mut of = sources(section);
                let old = age.is_some_and(|age| of.any(|s| was_fetched(scene, asked, s, age)));
                hold(format!("{name} is {state} of age {age:?}"), old);
                let stock = state == "stale" && kept_by("inventory");
                hold(format!("{name} is stale"), !stock);
            }
            "missing" => {
                take(&mut wanted, name);
                let answer =
                    healthy.sections.get(name).map(|s| &s["reason"]) == Some(&json!(reason));
                lost |= !answer;
                let mut of = sources(section);
                let so = answer
                    || of.any(|source| is_so(scene, asked, source, reason))
                    || reason == "deadline" && was_slowed(scene, asked, healthy);
                hold(format!("{name} is missing for {reason}"), so);
            }
            other => hold(format!("{name} is {other}"), false),
        }
    }
    hold(
        format!("sections {:?}", told.sections.keys()),
        told.sections.keys().eq(healthy.sections.keys()),
    );
    let mut shown = told.data.clone();
    forget_times(&mut shown, &healthy.data, &later.data);
    for data in [&mut wanted, &mut shown] {
        data.as_object_mut().map(|members| members.remove("_meta"));
    }
    hold(format!("shown is not {wanted}"), shown == wanted);
    let (header, says) = sections_header(asked.screen, told);
    hold(format!("Sections is {header:?}"), header == Some(says));
    if asked.screen.document.is_none() {
        let complete = told.body["_meta"]["complete"] == Value::Bool(!lost);
        hold("complete is not".to_owned(), complete);
    }
    if lost {
        let kept = told.header("cache-control") != "no-store" || !told.header("etag").is_empty();
        hold("it may be kept".to_owned(), !kept);
    }
    broken
}

/// Sets back what differs from one time to another, such as until when an address is good.
fn forget_times(shown: &mut Value, now: &Value, later: &Value) {
    match (shown, now, later) {
        (Value::Object(shown), Value::Object(now), Value::Object(later)) => {
            for (name, shown) in shown {
                if let (Some(now), Some(later)) = (now.get(name), later.get(name)) {
                    forget_times(shown, now, later);
                }
            }
        }
        (Value::Array(shown), Value::Array(now), Value::Array(later)) => {
            for ((shown, now), later) in shown.iter_mut().zip(now).zip(later) {
                forget_times(shown, now, later);
            }
        }
        (shown @ Value::String(_), Value::String(now), Value::String(later)) if now != later => {
            *shown = Value::String(now.clone());
        }
        _ => {}
    }
}

/// Whether a call for this request, or one that it may share, was under way meanwhile.
fn was_asked(scene: &Scene<'_>, asked: &Asked, source: &str) -> bool {
    scene.town.record.saw(|called| {
        let meanwhile = || {
            let over = called.left.is_some_and(|left| left + GRACE < asked.from);
            called.at <= asked.until && !over
        };
        called.backend.name() == source
            && (called.request == asked.request || scene.keeping && meanwhile())
    })
}

/// Whether a copy that old can have been fetched: somebody asked the backend so long ago.
fn was_fetched(scene: &Scene<'_>, asked: &Asked, source: &str, age: Duration) -> bool {
    let since = (asked.from).saturating_sub(age + GRACE);
    let until = (asked.until + GRACE).saturating_sub(age);
    let then = since..=until;
    (scene.town.record).saw(|called| called.backend.name() == source && then.contains(&called.at))
}

/// Whether something that happened to another of the screen's backends took the time that one lacked.
fn was_slowed(scene: &Scene<'_>, asked: &Asked, healthy: &Told) -> bool {
    let all = healthy.sections.values().flat_map(sources);
    (all.chain(["auth"])).any(|source| is_so(scene, asked, source, "deadline"))
}

/// Whether a reason given for a backend is a true one: something that gives it happened there, meanwhile.
fn is_so(scene: &Scene<'_>, asked: &Asked, source: &str, reason: &str) -> bool {
    let (from, until) = (asked.from, asked.until);
    let from = match reason {
        // Whoever is left alone has failed before.
        "circuit_open" => Duration::ZERO,
        // What was slow a moment ago is taken to be so still.
        "deadline" if scene.measured => Duration::ZERO,
        // Whoever joins a call shares what befell it before.
        _ if scene.keeping => from.saturating_sub(LONGEST_CALL),
        _ => from,
    };
    let here = scene.strikes.iter().filter(|strike| strike.place == source);
    let mut strikes = here
        .filter(|strike| strike.overlaps(from, until))
        .peekable();
    let connections = scene.town.record.within(source, from, until);
    let grpc = source == "playback";
    match reason {
        "circuit_open" | "deadline" => strikes.peek().is_some() || !connections.is_empty(),
        "unavailable" if !connections.is_empty() => true,
        "bad_response" if connections.contains(&How::Cut) => true,
        _ => strikes.any(|strike| match &strike.fault {
            Some(fault) => gives(fault, grpc, reason),
            None => ["unavailable", "bad_response"].contains(&reason),
        }),
    }
}

/// Whether a fault gives a reason.
fn gives(fault: &Fault, grpc: bool, reason: &str) -> bool {
    let unanswered = match fault.mode {
        None => fault.status.is_none(),
        Some(Mode::Hang) => true,
        Some(Mode::Endless) => grpc,
        Some(_) => false,
    };
    match reason {
        "timeout" => unanswered || fault.latency.is_some(),
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

/// Whether the issuer's keys could not be had, so that nobody could be signed in.
fn was_kept_out(scene: &Scene<'_>, asked: &Asked, code: &str) -> bool {
    let away = |s: &&Strike| s.place == "auth" && s.from <= asked.until;
    let gone = scene.strikes.iter().any(|s| away(&s));
    let broke = scene
        .town
        .record
        .within("auth", Duration::ZERO, asked.until);
    match code {
        "unavailable" | "deadline" => gone || !broke.is_empty(),
        _ => false,
    }
}
