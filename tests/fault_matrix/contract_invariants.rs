//! What every answer must keep to, word for word from what clients are promised.

use std::time::Duration;

use serde_json::{Value, json};
use services_mock::Backend;

use super::{Assignment, Blow, Outcome, Visit};
use crate::screens::{Enrolled, Told};

/// The members of a dictionary: keys and tokens.
pub(crate) type Members = Vec<(String, String)>;

/// What an answer may take beyond its deadline.
pub(crate) const GRACE: Duration = Duration::from_millis(50);
/// What a failure that shows at once may take, a second attempt and the pause before it included.
const QUICKLY: Duration = Duration::from_millis(100);
/// The most attempts at one call, and the most that one request may make beyond the calls it needs.
const ATTEMPTS: u64 = 2;
const EXTRA: u64 = 3;

/// How long a gateway may take for a request, as it is shipped.
pub(crate) fn deadline(gateway: &str) -> Duration {
    let own = |g: &&fleet::Gateway| g.name == gateway;
    let gateway = fleet::GATEWAYS.iter().find(own).unwrap();
    let defaults = gateway.defaults().unwrap();
    let text = defaults["inbound"]["deadline"].as_str().unwrap();
    bff_core::config::parse_duration(text).unwrap()
}

/// Every promise that an answer breaks.
pub(super) fn broken(visit: &Visit, assignment: &Assignment, outcome: &Outcome) -> Vec<String> {
    let mut said = Said::default();
    let (healthy, told) = (&visit.told, &outcome.told);
    let lost: Vec<&str> = (healthy.sections.iter())
        .filter(|(_, section)| reasons(section, assignment).next().is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    let fatal = lost.iter().filter(|name| is_required(visit, name));
    let fatal: Vec<&str> = fatal.copied().collect();
    effort(visit, outcome, &mut said);
    if healthy.code.is_some() {
        said.same("a refusal", &told.body["code"], &healthy.body["code"]);
        said.same("status", &told.status, &healthy.status);
    } else if fatal.is_empty() {
        answered(visit, assignment, &lost, outcome, &mut said);
    } else {
        failed(visit, assignment, &fatal, outcome, &mut said);
    }
    if !said.0.is_empty() {
        said.0.push(format!("{}", told.body));
    }
    said.0
}

/// What a screen breaks while nothing is broken.
pub(super) fn broken_when_healthy(visit: &Visit) -> Vec<String> {
    let told = &visit.told;
    let mut said = Said::default();
    if told.code.is_some() {
        said.same(
            "a refusal's code",
            &told.code.as_deref(),
            &Some("unauthenticated"),
        );
        said.that("a refused screen calls nobody", visit.calls.is_empty());
        return said.0;
    }
    let mut named: Vec<&str> = told.sections.values().flat_map(sources).collect();
    named.sort_unstable();
    named.dedup();
    let mut called: Vec<&str> = visit.calls.keys().map(|b| b.name()).collect();
    called.sort_unstable();
    said.same("who is named", &named, &called);
    for name in &visit.screen.required {
        let mut own = told.sections.keys().map(|n| n.split('.').next());
        said.that(
            "a required section is told",
            name == "_meta" || own.any(|n| n == Some(name)),
        );
    }
    for name in told.sections.keys() {
        said.that(
            "a section that is told is there",
            told.shows(name).is_some(),
        );
    }
    if visit.screen.document.is_none() {
        let own = visit.personal && visit.user.is_some();
        let scope = told.header("cache-control").split(',').next();
        said.that(
            "what is somebody's own is private",
            !own || scope == Some("private"),
        );
        let known = [Some("private"), Some("public")];
        said.that("it says who may keep it", known.contains(&scope));
        said.that(
            "a whole screen has a weak tag",
            told.header("etag").starts_with("W/\""),
        );
    }
    said.0
}

/// What must hold whatever came of it: time, attempts, for whom, nothing left behind.
fn effort(visit: &Visit, outcome: &Outcome, said: &mut Said) {
    let most = deadline(visit.screen.gateway) + GRACE;
    said.that(&format!("late: {:?}", outcome.took), outcome.took <= most);
    said.same("orphans", &outcome.orphans, &Vec::new());
    let end = outcome.began + deadline(visit.screen.gateway);
    let own = outcome.heard.iter().filter(|c| c.backend != Backend::Auth);
    for called in own {
        said.that(
            &format!("it was asked for somebody else: {called:?}"),
            called.is_for(visit.user),
        );
        said.that(
            &format!("it ends at {end:?}: {called:?}"),
            called.ends_by(end),
        );
    }
    let mut extra = 0;
    for (backend, calls) in &outcome.calls {
        let needed = visit.calls.get(backend).copied().unwrap_or(0);
        if *backend == Backend::Auth && visit.user.is_some() {
            continue;
        }
        extra += calls.saturating_sub(needed);
        said.that(
            &format!("{backend} was called {calls} times for {needed}"),
            *calls <= needed * ATTEMPTS,
        );
    }
    said.that(&format!("{extra} attempts more"), extra <= EXTRA);
}

/// A screen that lacks something it cannot be without.
fn failed(
    visit: &Visit,
    assignment: &Assignment,
    fatal: &[&str],
    outcome: &Outcome,
    said: &mut Said,
) {
    let (told, code) = (
        &outcome.told,
        outcome.told.code.as_deref().unwrap_or("none"),
    );
    let mut sections = fatal.iter().map(|name| &visit.told.sections[*name]);
    let is_true = sections
        .clone()
        .any(|section| tells(code, section, assignment));
    said.that(&format!("the screen failed with {code}"), is_true);
    punctual(visit, code, outcome, said);
    // The first of them to fail ends it.
    let quick = |section: &Value| blows(section, assignment).all(Blow::is_quick);
    if sections.any(quick) {
        said.that(
            &format!("it took {:?} to fail", outcome.took),
            outcome.took <= QUICKLY,
        );
    }
    nobodys_to_keep(told, said);
    said.same("Sections", &told.header("sections"), &"");
    let Some(_) = visit.screen.document else {
        said.same("status", &told.status, &status(code));
        said.same(
            "media type",
            &told.header("content-type"),
            &"application/problem+json",
        );
        said.that("503 says when to try again, and nothing else does", {
            told.header("retry-after").is_empty() == (told.status != 503)
        });
        said.same(
            "the problem's status",
            &told.body["status"],
            &json!(told.status),
        );
        return;
    };
    said.same("status", &told.status, &200);
    said.same(
        "data",
        &told.body["data"],
        &json!({ &visit.screen.operation: null }),
    );
    said.same(
        "path",
        &told.body["errors"][0]["path"],
        &json!([visit.screen.operation]),
    );
    said.same(
        "errors",
        &told.body["errors"].as_array().map(Vec::len),
        &Some(1),
    );
    said.that("no section of it is told", told.sections.is_empty());
}

/// A screen that may lack what is lost, and nothing else.
fn answered(
    visit: &Visit,
    assignment: &Assignment,
    lost: &[&str],
    outcome: &Outcome,
    said: &mut Said,
) {
    let (healthy, told) = (&visit.told, &outcome.told);
    said.same("status", &(told.status, &told.code), &(200, &None));
    let names = |told: &Told| told.sections.keys().cloned().collect::<Vec<_>>();
    said.same("the sections told", &names(told), &names(healthy));
    let mut wanted = healthy.data.clone();
    for (name, section) in &told.sections {
        let was = &healthy.sections[name];
        if !lost.contains(&name.as_str()) {
            said.same(name, section, was);
            continue;
        }
        let reason = section["reason"].as_str().unwrap_or("none");
        said.that(
            &format!("{name} is said to be lost by {reason}"),
            tells(reason, was, assignment),
        );
        punctual(visit, reason, outcome, said);
        // Of several, one that failed.
        let one = section["source"].as_str().unwrap_or_default();
        let failed = reasons(section, assignment).next().is_some();
        said.that(
            &format!("{one} failed, and is one of its sources"),
            failed && sources(was).any(|source| source == one),
        );
        match section["state"].as_str() {
            Some("missing") => take(&mut wanted, name),
            // A declared substitute is the screen's to choose, so long as there is one.
            Some("fallback") => {
                said.that("a fallback is there", told.shows(name).is_some());
                wanted[name] = told.data[name].clone();
            }
            other => said.0.push(format!("{name} is {other:?}")),
        }
    }
    let mut shown = told.data.clone();
    for data in [&mut wanted, &mut shown] {
        data.as_object_mut().map(|members| members.remove("_meta"));
    }
    let timely = shown == wanted;
    for data in [&mut wanted, &mut shown] {
        forget_hours(data);
    }
    said.same("the page", &shown, &wanted);
    let (header, wanted) = sections_header(visit.screen, told);
    said.same("Sections", &header, &Some(wanted));
    if visit.screen.document.is_some() {
        errors(visit, told, said);
        return;
    }
    said.same(
        "complete",
        &told.body["_meta"]["complete"],
        &json!(lost.is_empty()),
    );
    if lost.is_empty() {
        let same = |name| {
            (
                told.header(name).to_owned(),
                healthy.header(name).to_owned(),
            )
        };
        let (tag, was) = same("etag");
        said.that("the tag", !timely || tag == was);
        let (cache, was) = same("cache-control");
        said.same("cache-control", &cache, &was);
    } else {
        nobodys_to_keep(told, said);
    }
}

/// Takes away the times that go on while the cases are tried: until when a manifest is good.
pub(crate) fn forget_hours(data: &mut Value) {
    if let Some(manifest) = data["manifest"].as_object_mut() {
        manifest.remove("expiresAt");
    }
}

/// The `Sections` header, which is a dictionary (RFC 9651 §3.2), and what it is to say: what the body says, in its order.
pub(crate) fn sections_header(screen: &Enrolled, told: &Told) -> (Option<Members>, Members) {
    let root = (screen.document.as_ref()).map(|_| format!("{}.", screen.operation));
    let root = root.unwrap_or_default();
    let told_of = told.sections.iter().map(|(name, section)| {
        let state = section["state"].as_str().unwrap_or_default();
        (snake(&format!("{root}{name}")), state.to_owned())
    });
    (dictionary(told.header("sections")), told_of.collect())
}

/// GraphQL tells of each lost section in `errors` too, at its path, and of nothing else.
fn errors(visit: &Visit, told: &Told, said: &mut Said) {
    let error = |error: &Value| (error["path"].clone(), error["extensions"]["code"].clone());
    let errors = told.body["errors"].as_array().into_iter().flatten();
    let mut errors: Vec<_> = errors.map(error).collect();
    let missing = told
        .sections
        .iter()
        .filter(|(_, s)| s["state"] == "missing");
    let mut wanted: Vec<_> = missing
        .map(|(name, s)| (json!([visit.screen.operation, name]), s["reason"].clone()))
        .collect();
    for list in [&mut errors, &mut wanted] {
        list.sort_by_key(|(path, _)| path.to_string());
    }
    said.same("errors", &errors, &wanted);
    nobodys_to_keep(told, said);
}

/// `deadline` is only true of a request whose time is up.
fn punctual(visit: &Visit, reason: &str, outcome: &Outcome, said: &mut Said) {
    let up = deadline(visit.screen.gateway).saturating_sub(GRACE);
    said.that(
        &format!("{reason} after {:?}", outcome.took),
        reason != "deadline" || outcome.took >= up,
    );
}

fn nobodys_to_keep(told: &Told, said: &mut Said) {
    said.same("Cache-Control", &told.header("cache-control"), &"no-store");
    said.same("ETag", &told.header("etag"), &"");
}

/// The status of a screen that failed, by its code.
pub(crate) fn status(code: &str) -> u16 {
    match code {
        "bad_response" => 502,
        "unavailable" | "circuit_open" | "overloaded" => 503,
        "timeout" | "deadline" => 504,
        _ => 0,
    }
}

fn is_required(visit: &Visit, name: &str) -> bool {
    visit.screen.requires(name)
}

/// Whether a reason is true of a lost section: what struck it. Never `circuit_open`, for a gateway that has just
/// started knows of nobody to leave alone: that its retries are refused meanwhile is not why the section is lost.
fn tells(reason: &str, section: &Value, assignment: &Assignment) -> bool {
    reasons(section, assignment).any(|truth| truth == reason)
}

/// What may truly be said of a section under an assignment; nothing when it is not lost.
fn reasons<'a>(
    section: &'a Value,
    assignment: &'a Assignment,
) -> impl Iterator<Item = &'static str> + use<'a> {
    blows(section, assignment).flat_map(|blow| blow.reasons().iter().copied())
}

/// What struck the backends a section is made from.
fn blows<'a>(
    section: &'a Value,
    assignment: &'a Assignment,
) -> impl Iterator<Item = Blow> + use<'a> {
    sources(section).filter_map(|source| assignment.get(&source.parse().ok()?).copied())
}

/// The backends a section is made from.
pub(crate) fn sources(section: &Value) -> impl Iterator<Item = &str> {
    section["source"].as_str().unwrap_or_default().split(", ")
}

/// Takes a section out of a page: a member becomes null, one of a list (`rows.<id>`) is gone.
pub(crate) fn take(page: &mut Value, name: &str) {
    match name.split_once('.') {
        None => page[name] = Value::Null,
        Some((list, id)) => {
            if let Some(rows) = page[list].as_array_mut() {
                rows.retain(|row| row["id"] != id);
            }
        }
    }
}

/// The members of a dictionary whose values are tokens, their parameters left out; `None` for anything else.
fn dictionary(text: &str) -> Option<Members> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c);
    let mut members = Vec::new();
    for member in text.split(", ") {
        let (key, value) = member.split_once('=')?;
        let value = value.split(';').next()?;
        let begins = key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*');
        let goes_on = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
        let sound =
            begins && key.chars().all(goes_on) && !value.is_empty() && value.chars().all(token);
        sound.then(|| members.push((key.to_owned(), value.to_owned())))?;
    }
    Some(members)
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

/// The promises that were broken, a line each.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    fn that(&mut self, what: &str, holds: bool) {
        if !holds {
            self.0.push(what.to_owned());
        }
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, is: &T, wanted: &T) {
        if is != wanted {
            self.0.push(format!("{what} is {is:?}, not {wanted:?}"));
        }
    }
}
