//! Checks a response against the promises of the contract.

use std::time::Duration;

use serde_json::{Value, json};
use services_mock::Backend;

use super::{Assignment, FaultKind, Outcome, ScreenCase};
use crate::screens::{ScreenOperation, ScreenResponse};

/// The members of a dictionary header: keys and tokens.
pub(crate) type Members = Vec<(String, String)>;

/// The time that a response may take beyond its deadline.
pub(crate) const GRACE: Duration = Duration::from_millis(50);
/// The most time for an immediate failure, with a second attempt and its backoff.
const IMMEDIATE: Duration = Duration::from_millis(100);
/// The most attempts of one call.
const MAX_ATTEMPTS: u64 = 2;
/// The most extra attempts of one request.
const MAX_EXTRA: u64 = 3;

/// The shipped deadline of a gateway's requests.
pub(crate) fn deadline(gateway: &str) -> Duration {
    let is_own = |g: &&fleet::Gateway| g.name == gateway;
    let gateway = fleet::GATEWAYS.iter().find(is_own).unwrap();
    let defaults = gateway.defaults().unwrap();
    let text = defaults["inbound"]["deadline"].as_str().unwrap();
    bff_core::config::parse_duration(text).unwrap()
}

/// Returns every violation in the outcome of a case.
pub(super) fn violations(
    case: &ScreenCase,
    assignment: &Assignment,
    outcome: &Outcome,
) -> Vec<String> {
    let mut violations = Violations::default();
    let (baseline, response) = (&case.baseline, &outcome.response);
    let lost: Vec<&str> = (baseline.sections.iter())
        .filter(|(_, section)| reasons(section, assignment).next().is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    let fatal = lost.iter().filter(|name| is_required(case, name));
    let fatal: Vec<&str> = fatal.copied().collect();
    check_calls(case, outcome, &mut violations);
    if baseline.code.is_some() {
        violations.check_eq("code", &response.body["code"], &baseline.body["code"]);
        violations.check_eq("status", &response.status, &baseline.status);
    } else if fatal.is_empty() {
        check_page(case, assignment, &lost, outcome, &mut violations);
    } else {
        check_failure(case, assignment, &fatal, outcome, &mut violations);
    }
    if !violations.0.is_empty() {
        violations.0.push(format!("{}", response.body));
    }
    violations.0
}

/// Returns every violation in a screen's response without faults.
pub(super) fn baseline_violations(case: &ScreenCase) -> Vec<String> {
    let response = &case.baseline;
    let mut violations = Violations::default();
    if response.code.is_some() {
        violations.check_eq(
            "the code of a rejected request",
            &response.code.as_deref(),
            &Some("unauthenticated"),
        );
        violations.check("a rejected request calls a backend", case.calls.is_empty());
        return violations.0;
    }
    let mut named: Vec<&str> = response.sections.values().flat_map(sources).collect();
    named.sort_unstable();
    named.dedup();
    let mut called: Vec<&str> = case.calls.keys().map(|b| b.name()).collect();
    called.sort_unstable();
    violations.check_eq("the sources", &named, &called);
    for name in &case.screen.required {
        let mut sections = response.sections.keys().map(|n| n.split('.').next());
        violations.check(
            "a required section is not in _meta",
            name == "_meta" || sections.any(|n| n == Some(name)),
        );
    }
    for name in response.sections.keys() {
        violations.check(
            "a section in _meta has no data",
            response.section_data(name).is_some(),
        );
    }
    if case.screen.document.is_none() {
        let personal = case.personal && case.user.is_some();
        let scope = response.header("cache-control").split(',').next();
        violations.check(
            "a personal response is not private",
            !personal || scope == Some("private"),
        );
        let scopes = [Some("private"), Some("public")];
        violations.check(
            "Cache-Control has neither private nor public",
            scopes.contains(&scope),
        );
        violations.check(
            "a complete response has no weak ETag",
            response.header("etag").starts_with("W/\""),
        );
    }
    violations.0
}

/// Checks the time, the attempts, the identities and the ends of the calls. These hold for every outcome.
fn check_calls(case: &ScreenCase, outcome: &Outcome, violations: &mut Violations) {
    let max = deadline(case.screen.gateway) + GRACE;
    violations.check(
        &format!("late: {:?}", outcome.elapsed),
        outcome.elapsed <= max,
    );
    violations.check_eq("orphans", &outcome.orphans, &Vec::new());
    let deadline = outcome.started + deadline(case.screen.gateway);
    let received = outcome.received.iter();
    for call in received.filter(|c| c.backend != Backend::Auth) {
        violations.check(
            &format!("wrong identity: {call:?}"),
            call.identifies_only(case.user),
        );
        violations.check(
            &format!("the deadline is {deadline:?}, but: {call:?}"),
            call.times_out_by(deadline),
        );
    }
    let mut extra = 0;
    for (backend, calls) in &outcome.calls {
        let needed = case.calls.get(backend).copied().unwrap_or(0);
        if *backend == Backend::Auth && case.user.is_some() {
            continue;
        }
        extra += calls.saturating_sub(needed);
        violations.check(
            &format!("{backend} was called {calls} times, {needed} are needed"),
            *calls <= needed * MAX_ATTEMPTS,
        );
    }
    violations.check(&format!("{extra} extra attempts"), extra <= MAX_EXTRA);
}

/// Checks a screen that lost a required section.
fn check_failure(
    case: &ScreenCase,
    assignment: &Assignment,
    fatal: &[&str],
    outcome: &Outcome,
    violations: &mut Violations,
) {
    let (response, code) = (
        &outcome.response,
        outcome.response.code.as_deref().unwrap_or("none"),
    );
    let mut sections = fatal.iter().map(|name| &case.baseline.sections[*name]);
    let justified = sections
        .clone()
        .any(|section| is_justified(code, section, assignment));
    violations.check(&format!("the screen failed with {code}"), justified);
    check_deadline_reason(case, code, outcome, violations);
    // The first required section to fail ends the request.
    let immediate = |section: &Value| fault_kinds(section, assignment).all(FaultKind::is_immediate);
    if sections.any(immediate) {
        violations.check(
            &format!("the failure took {:?}", outcome.elapsed),
            outcome.elapsed <= IMMEDIATE,
        );
    }
    check_not_cacheable(response, violations);
    violations.check_eq("Sections", &response.header("sections"), &"");
    let Some(_) = case.screen.document else {
        violations.check_eq("status", &response.status, &status_of(code));
        violations.check_eq(
            "media type",
            &response.header("content-type"),
            &"application/problem+json",
        );
        violations.check("only a 503 has Retry-After", {
            response.header("retry-after").is_empty() == (response.status != 503)
        });
        violations.check_eq(
            "the status in the problem document",
            &response.body["status"],
            &json!(response.status),
        );
        return;
    };
    violations.check_eq("status", &response.status, &200);
    violations.check_eq(
        "data",
        &response.body["data"],
        &json!({ &case.screen.operation: null }),
    );
    violations.check_eq(
        "path",
        &response.body["errors"][0]["path"],
        &json!([case.screen.operation]),
    );
    violations.check_eq(
        "errors",
        &response.body["errors"].as_array().map(Vec::len),
        &Some(1),
    );
    violations.check(
        "a failed screen reports sections",
        response.sections.is_empty(),
    );
}

/// Checks a screen that lost optional sections only, or none.
fn check_page(
    case: &ScreenCase,
    assignment: &Assignment,
    lost: &[&str],
    outcome: &Outcome,
    violations: &mut Violations,
) {
    let (baseline, response) = (&case.baseline, &outcome.response);
    violations.check_eq("status", &(response.status, &response.code), &(200, &None));
    let names = |response: &ScreenResponse| response.sections.keys().cloned().collect::<Vec<_>>();
    violations.check_eq("the sections", &names(response), &names(baseline));
    let mut expected = baseline.data.clone();
    for (name, section) in &response.sections {
        let healthy = &baseline.sections[name];
        if !lost.contains(&name.as_str()) {
            violations.check_eq(name, section, healthy);
            continue;
        }
        let reason = section["reason"].as_str().unwrap_or("none");
        violations.check(
            &format!("{name} is lost for {reason}"),
            is_justified(reason, healthy, assignment),
        );
        check_deadline_reason(case, reason, outcome, violations);
        // A section with several sources names the one that failed.
        let source = section["source"].as_str().unwrap_or_default();
        let failed = reasons(section, assignment).next().is_some();
        violations.check(
            &format!("{source} did not fail, or is not a source of {name}"),
            failed && sources(healthy).any(|s| s == source),
        );
        match section["state"].as_str() {
            Some("missing") => remove_section(&mut expected, name),
            // The screen chooses the fallback's data.
            Some("fallback") => {
                violations.check(
                    "a fallback has no data",
                    response.section_data(name).is_some(),
                );
                expected[name] = response.data[name].clone();
            }
            other => violations.0.push(format!("{name} is {other:?}")),
        }
    }
    let mut data = response.data.clone();
    for data in [&mut expected, &mut data] {
        data.as_object_mut().map(|members| members.remove("_meta"));
    }
    let same_expiry = data == expected;
    for data in [&mut expected, &mut data] {
        remove_expiry(data);
    }
    violations.check_eq("the data", &data, &expected);
    let (header, members) = sections_header(case.screen, response);
    violations.check_eq("Sections", &header, &Some(members));
    if case.screen.document.is_some() {
        check_graphql_errors(case, response, violations);
        return;
    }
    violations.check_eq(
        "complete",
        &response.body["_meta"]["complete"],
        &json!(lost.is_empty()),
    );
    if lost.is_empty() {
        let header = |name| {
            (
                response.header(name).to_owned(),
                baseline.header(name).to_owned(),
            )
        };
        let (tag, expected) = header("etag");
        violations.check("the ETag differs", !same_expiry || tag == expected);
        let (cache_control, expected) = header("cache-control");
        violations.check_eq("Cache-Control", &cache_control, &expected);
    } else {
        check_not_cacheable(response, violations);
    }
}

/// Removes the expiry of a manifest, which depends on the time of the request.
pub(crate) fn remove_expiry(data: &mut Value) {
    if let Some(manifest) = data["manifest"].as_object_mut() {
        manifest.remove("expiresAt");
    }
}

/// Returns the parsed `Sections` header, a dictionary (RFC 9651 §3.2), and the members that the body requires.
pub(crate) fn sections_header(
    screen: &ScreenOperation,
    response: &ScreenResponse,
) -> (Option<Members>, Members) {
    let root = (screen.document.as_ref()).map(|_| format!("{}.", screen.operation));
    let root = root.unwrap_or_default();
    let expected = response.sections.iter().map(|(name, section)| {
        let state = section["state"].as_str().unwrap_or_default();
        (to_snake_case(&format!("{root}{name}")), state.to_owned())
    });
    (
        parse_dictionary(response.header("sections")),
        expected.collect(),
    )
}

/// A GraphQL response has one entry in `errors` for each lost section, at its path, and no other entries.
fn check_graphql_errors(case: &ScreenCase, response: &ScreenResponse, violations: &mut Violations) {
    let error = |error: &Value| (error["path"].clone(), error["extensions"]["code"].clone());
    let errors = response.body["errors"].as_array().into_iter().flatten();
    let mut errors: Vec<_> = errors.map(error).collect();
    let missing = response
        .sections
        .iter()
        .filter(|(_, s)| s["state"] == "missing");
    let mut expected: Vec<_> = missing
        .map(|(name, s)| (json!([case.screen.operation, name]), s["reason"].clone()))
        .collect();
    for list in [&mut errors, &mut expected] {
        list.sort_by_key(|(path, _)| path.to_string());
    }
    violations.check_eq("errors", &errors, &expected);
    check_not_cacheable(response, violations);
}

/// The reason `deadline` is only correct if the request's deadline has passed.
fn check_deadline_reason(
    case: &ScreenCase,
    reason: &str,
    outcome: &Outcome,
    violations: &mut Violations,
) {
    let deadline = deadline(case.screen.gateway).saturating_sub(GRACE);
    violations.check(
        &format!("{reason} after {:?}", outcome.elapsed),
        reason != "deadline" || outcome.elapsed >= deadline,
    );
}

fn check_not_cacheable(response: &ScreenResponse, violations: &mut Violations) {
    violations.check_eq(
        "Cache-Control",
        &response.header("cache-control"),
        &"no-store",
    );
    violations.check_eq("ETag", &response.header("etag"), &"");
}

/// The status of a screen that failed with this code.
pub(crate) fn status_of(code: &str) -> u16 {
    match code {
        "bad_response" => 502,
        "unavailable" | "circuit_open" | "overloaded" => 503,
        "timeout" | "deadline" => 504,
        _ => 0,
    }
}

fn is_required(case: &ScreenCase, name: &str) -> bool {
    case.screen.requires(name)
}

/// Whether a reason matches a fault of a lost section. `circuit_open` never does: a new gateway has no open circuit
/// breaker, and one that opens between two attempts is not the cause of the loss.
fn is_justified(reason: &str, section: &Value, assignment: &Assignment) -> bool {
    reasons(section, assignment).any(|correct| correct == reason)
}

/// The correct reasons for a section under an assignment; empty if the section is not lost.
fn reasons<'a>(
    section: &'a Value,
    assignment: &'a Assignment,
) -> impl Iterator<Item = &'static str> + use<'a> {
    fault_kinds(section, assignment).flat_map(|kind| kind.reasons().iter().copied())
}

/// The faults of a section's backends.
fn fault_kinds<'a>(
    section: &'a Value,
    assignment: &'a Assignment,
) -> impl Iterator<Item = FaultKind> + use<'a> {
    sources(section).filter_map(|source| assignment.get(&source.parse().ok()?).copied())
}

/// The backends of a section.
pub(crate) fn sources(section: &Value) -> impl Iterator<Item = &str> {
    section["source"].as_str().unwrap_or_default().split(", ")
}

/// Removes a section from a page: a member becomes null, and a list loses its entry (`rows.<id>`).
pub(crate) fn remove_section(page: &mut Value, name: &str) {
    match name.split_once('.') {
        None => page[name] = Value::Null,
        Some((list, id)) => {
            if let Some(rows) = page[list].as_array_mut() {
                rows.retain(|row| row["id"] != id);
            }
        }
    }
}

/// Parses a dictionary whose values are tokens, without their parameters. Returns `None` for anything else.
fn parse_dictionary(text: &str) -> Option<Members> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c);
    let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
    let mut members = Vec::new();
    for member in text.split(", ") {
        let (key, value) = member.split_once('=')?;
        let value = value.split(';').next()?;
        let valid_start = key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*');
        let valid = valid_start
            && key.chars().all(is_key)
            && !value.is_empty()
            && value.chars().all(is_token);
        valid.then(|| members.push((key.to_owned(), value.to_owned())))?;
    }
    Some(members)
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

/// The violations of a case, one line each.
#[derive(Default)]
struct Violations(Vec<String>);

impl Violations {
    fn check(&mut self, violation: &str, holds: bool) {
        if !holds {
            self.0.push(violation.to_owned());
        }
    }

    fn check_eq<T: PartialEq + std::fmt::Debug>(&mut self, name: &str, actual: &T, expected: &T) {
        if actual != expected {
            self.0
                .push(format!("{name} is {actual:?}, expected {expected:?}"));
        }
    }
}
