//! `FAILURES.md`: what a gateway's clients get when one backend fails, as it was found out by trying.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use fleet::Callers;
use services_mock::Backend;

use crate::fault_matrix::{Assignment, Blow, Outcome, Visit, deadline, visits};
use crate::screens::Enrolled;

/// What one failing backend does to one screen.
struct Tried {
    visit: &'static Visit,
    backend: Backend,
    blow: Blow,
    outcome: Outcome,
}

/// The whole document of one gateway.
pub(super) fn document(gateway: &str) -> String {
    let own = || visits().iter().filter(|v| v.screen.gateway == gateway);
    let tried: Vec<Tried> = own().flat_map(tries).collect();
    let mut text = head(gateway);
    for visit in own() {
        by_screen(visit, &tried, &mut text);
    }
    text.push_str("## Backend by backend\n\n");
    let late_and_harmless = |one: &Tried| one.blow != Blow::Slow || harm(one) == "unharmed";
    assert!(tried.iter().all(late_and_harmless), "the next line says so");
    text.push_str(
        "An answer that is only late harms nobody; where no way of failing is named, all others do this harm. A screen that
is not named is unharmed.\n",
    );
    for backend in Backend::ALL {
        by_backend(backend, &tried, &mut text);
    }
    text
}

/// Each backend that a screen calls, and for the signed in the issuer, in each way.
fn tries(visit: &'static Visit) -> Vec<Tried> {
    let signed_in = visit.user.is_some() && visit.told.code.is_none();
    let issuer = signed_in.then_some(Backend::Auth);
    let backends = visit.calls.keys().copied().chain(issuer);
    let each = backends.flat_map(|backend| Blow::ALL.map(|blow| (backend, blow)));
    let tried = each.map(|(backend, blow)| Tried {
        visit,
        backend,
        blow,
        outcome: visit.under(&Assignment::from([(backend, blow)])),
    });
    tried.collect()
}

fn head(gateway: &str) -> String {
    format!(
        "# When a backend fails: what clients of {gateway} get

Written by `UPDATE_CONTRACTS=1 cargo test -p tests contracts`, which tries each case, and compared by every test run: do
not edit it.

- Each line is a gateway that has just started, as it is shipped, with one backend that fails and all others well. Several
  that fail at once lose what each of them loses; a screen that fails, fails with the first.
- A section that is *lost* is `null`, a row is left out; `_meta.sections` and the `Sections` header say `missing` and why.
  The answer is then incomplete: `\"complete\": false`, `Cache-Control: no-store`, no `ETag`.
- *Within* is how long the client waits at most. Whatever fails, {gateway} answers within its deadline of {}, or within
  the client's own `Request-Timeout`.
- A backend that has failed often is not asked for a while: then the reason is `circuit_open`, at once.

## Screen by screen

",
        seconds(deadline(gateway))
    )
}

fn by_screen(visit: &Visit, tried: &[Tried], text: &mut String) {
    let asked = match &visit.screen.document {
        Some(_) => "GraphQL".to_owned(),
        None => format!("`GET {}`", visit.screen.path),
    };
    let _ = writeln!(text, "### {}\n\n{asked}, {}\n", title(visit), asker(visit));
    if let Some(code) = &visit.told.code {
        let _ = writeln!(
            text,
            "Refused with `{code}`, whatever fails: no backend is asked.\n"
        );
        return;
    }
    text.push_str("| backend | when it | status | lost | within |\n|---|---|---|---|---|\n");
    let own = tried.iter().filter(|t| std::ptr::eq(t.visit, visit));
    for one in own.filter(|t| t.backend != Backend::Auth) {
        let Tried {
            backend,
            blow,
            outcome,
            ..
        } = one;
        let told = &outcome.told;
        let status = match &told.code {
            Some(code) => format!("{} `{code}`", told.status),
            None => told.status.to_string(),
        };
        let _ = writeln!(
            text,
            "| {backend} | {} | {status} | {} | {} |",
            blow.words(),
            lost(one).unwrap_or_else(|| "nothing".to_owned()),
            seconds(tenth(outcome.took)),
        );
    }
    text.push('\n');
}

/// Which screens a backend hurts, and how; one line where all ways that hurt, hurt alike.
fn by_backend(backend: Backend, tried: &[Tried], text: &mut String) {
    let _ = writeln!(text, "\n### {backend}\n");
    let mut screens: BTreeMap<(String, String), Vec<&Tried>> = BTreeMap::new();
    for one in tried.iter().filter(|t| t.backend == backend) {
        let place = (title(one.visit), asker(one.visit).to_owned());
        screens.entry(place).or_default().push(one);
    }
    if screens.is_empty() {
        text.push_str("No screen is harmed.\n");
        return;
    }
    if backend == Backend::Auth {
        text.push_str("Before its keys are known, with 503 `unavailable` or 504 `deadline`; once they are, nobody is harmed.\n\n");
    }
    text.push_str("| screen | for whom | harm |\n|---|---|---|\n");
    for ((screen, asker), ways) in screens {
        let mut harms: Vec<(String, Vec<&str>)> = Vec::new();
        for one in ways.into_iter().filter(|one| one.blow != Blow::Slow) {
            let harm = harm(one);
            match harms.iter_mut().find(|(known, _)| *known == harm) {
                Some((_, ways)) => ways.push(one.blow.words()),
                None => harms.push((harm, vec![one.blow.words()])),
            }
        }
        let said: Vec<String> = match &harms[..] {
            [(harm, _)] => vec![harm.clone()],
            several => several
                .iter()
                .map(|(harm, ways)| format!("{harm} when it {}", ways.join(", ")))
                .collect(),
        };
        let _ = writeln!(text, "| {screen} | {asker} | {} |", said.join("; "));
    }
}

fn harm(one: &Tried) -> String {
    match (&one.outcome.told.code, names(one)) {
        (Some(_), _) => "**screen fails**".to_owned(),
        (None, lost) if lost.is_empty() => "unharmed".to_owned(),
        (None, lost) => format!("`{}` lost", lost.join("`, `")),
    }
}

/// What is lost, with the reason.
fn lost(one: &Tried) -> Option<String> {
    if one.outcome.told.code.is_some() {
        return Some("the screen".to_owned());
    }
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in names(one) {
        let section = &one.outcome.told.sections[&name];
        let reason = section["reason"].as_str().unwrap_or_default();
        by_reason
            .entry(reason)
            .or_default()
            .push(format!("`{name}`"));
    }
    let each = by_reason
        .iter()
        .map(|(reason, names)| format!("{} (`{reason}`)", names.join(", ")));
    let all: Vec<String> = each.collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// The sections that are not as they are while all is well.
fn names(one: &Tried) -> Vec<String> {
    let told = one.outcome.told.sections.iter();
    let lost = told.filter(|(_, section)| section["state"] != "fresh");
    lost.map(|(name, _)| name.clone()).collect()
}

fn title(visit: &Visit) -> String {
    let Enrolled {
        operation,
        document,
        ..
    } = visit.screen;
    let door = if document.is_some() { " (GraphQL)" } else { "" };
    format!("{operation}{door}")
}

fn asker(visit: &Visit) -> &'static str {
    match visit.user {
        _ if visit.screen.callers() == Callers::Partners => "partners",
        _ if !visit.personal => "everybody",
        Some(_) => "the signed in",
        None => "the anonymous",
    }
}

/// Rounded up to a tenth of a second: how much of a second attempt's random wait there is, is nobody's business.
fn tenth(took: Duration) -> Duration {
    let tenths = took.as_micros().div_ceil(100_000).max(1);
    Duration::from_millis(u64::try_from(tenths).unwrap() * 100)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
