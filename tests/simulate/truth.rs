//! Whether what an answer says is so: held against the healthy page, and against what really broke and when.

use std::time::Duration;

use serde_json::{Value, json};
use services_mock::{Fault, Mode};

use super::schedule::{LONGEST_CALL, Scene};
use crate::screens::{Enrolled, Told};
use crate::subsets::{sections_header, sources, status, take};
use crate::town::How;

/// A request, as far as the truth depends on it.
pub(super) struct Asked {
    pub(super) screen: &'static Enrolled,
    pub(super) signed_in: bool,
    /// Whether the client gave less time than the gateway has.
    pub(super) hurried: bool,
    pub(super) from: Duration,
    pub(super) until: Duration,
}

/// A connection may only be lost with its gateway.
pub(super) fn of_a_loss(scene: &Scene<'_>, asked: &Asked, why: &str) -> Vec<String> {
    let gone = scene.strikes.iter().any(|strike| {
        strike.place == asked.screen.gateway && strike.overlaps(asked.from, asked.until)
    });
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
            "fresh" => {}
            "cached" | "stale" => {
                let kept_by = |source: &str| sources(section).any(|s| s == source);
                hold(format!("{name} was kept"), !kept_by("user"));
                let old = section["ageMs"].is_u64();
                hold(format!("{name} is {state} of no age"), old);
                let stock = state == "stale" && kept_by("inventory");
                hold(format!("{name} is stale"), !stock);
            }
            "missing" => {
                take(&mut wanted, name);
                let answer =
                    healthy.sections.get(name).map(|s| &s["reason"]) == Some(&json!(reason));
                lost |= !answer;
                let mut of = sources(section);
                let so = answer || of.any(|source| is_so(scene, asked, source, reason));
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

/// Whether a reason given for a backend is a true one: something that gives it happened there, meanwhile.
fn is_so(scene: &Scene<'_>, asked: &Asked, source: &str, reason: &str) -> bool {
    let (from, until) = (asked.from, asked.until);
    let from = match reason {
        // Whoever is left alone has failed before.
        "circuit_open" => Duration::ZERO,
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
        "circuit_open" => strikes.peek().is_some() || !connections.is_empty(),
        "deadline" => asked.hurried || strikes.peek().is_some() || !connections.is_empty(),
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
    let away = |s: &&super::storm::Strike| s.place == "auth" && s.from <= asked.until;
    let gone = scene.strikes.iter().any(|s| away(&s));
    let broke = scene
        .town
        .record
        .within("auth", Duration::ZERO, asked.until);
    match code {
        "unavailable" => gone || !broke.is_empty(),
        "deadline" => gone || !broke.is_empty() || asked.hurried,
        _ => false,
    }
}
