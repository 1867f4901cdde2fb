//! Generates `FAILURES.md`: the response of each screen when one backend fails. Each case is run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use fleet::Callers;
use services_mock::Backend;

use crate::fault_matrix::{Assignment, FaultKind, Outcome, ScreenCase, deadline, screen_cases};
use crate::screens::ScreenOperation;

/// One screen with one faulty backend, and the outcome.
struct Trial {
    case: &'static ScreenCase,
    backend: Backend,
    kind: FaultKind,
    outcome: Outcome,
}

/// The document of one gateway.
pub(super) fn document(gateway: &str) -> String {
    let cases = || (screen_cases().iter()).filter(|c| c.screen.gateway == gateway);
    let trials: Vec<Trial> = cases().flat_map(run_trials).collect();
    let mut text = introduction(gateway);
    for case in cases() {
        write_screen(case, &trials, &mut text);
    }
    text.push_str("## By backend\n\n");
    let slow_is_harmless =
        |trial: &Trial| trial.kind != FaultKind::Slow || describe_effect(trial) == "not affected";
    assert!(
        trials.iter().all(slow_is_harmless),
        "the document states that a slow response has no effect"
    );
    text.push_str(
        "A slow response has no effect. An effect without a condition is the same for all other faults. A screen that is not
listed is not affected.\n",
    );
    for backend in Backend::ALL {
        write_backend(backend, &trials, &mut text);
    }
    text
}

/// Runs a screen with each fault of each backend that it calls; for a signed-in caller, also of the issuer.
fn run_trials(case: &'static ScreenCase) -> Vec<Trial> {
    let signed_in = case.user.is_some() && case.baseline.code.is_none();
    let issuer = signed_in.then_some(Backend::Auth);
    let backends = case.calls.keys().copied().chain(issuer);
    let each = backends.flat_map(|backend| FaultKind::ALL.map(|kind| (backend, kind)));
    let trials = each.map(|(backend, kind)| Trial {
        case,
        backend,
        kind,
        outcome: case.run(&Assignment::from([(backend, kind)])),
    });
    trials.collect()
}

fn introduction(gateway: &str) -> String {
    format!(
        "# Responses of {gateway} when a backend fails

`UPDATE_CONTRACTS=1 cargo test -p tests contracts` runs each case and writes this file. Every test run compares it. Do not
edit it.

- Each line shows a new gateway with the shipped configuration, one faulty backend, and all other backends healthy. If
  several backends fail, the response loses the sections of each. A failed screen reports the first failure.
- A *lost* section is `null`, and a lost row is left out. `_meta.sections` reports it as `missing`, with the reason; the
  `Sections` header reports `missing`. The response is then incomplete: `\"complete\": false`, `Cache-Control: no-store`,
  no `ETag`.
- *Within* is the longest time that the client waits. {gateway} always responds within its deadline of {}, or within the
  client's own `Request-Timeout`.
- After repeated failures of a backend, its circuit breaker opens. The reason is then `circuit_open`, without a wait.

## By screen

",
        format_seconds(deadline(gateway))
    )
}

fn write_screen(case: &ScreenCase, trials: &[Trial], text: &mut String) {
    let request = match &case.screen.document {
        Some(_) => "GraphQL".to_owned(),
        None => format!("`GET {}`", case.screen.path),
    };
    let _ = writeln!(
        text,
        "### {}\n\n{request}, {}\n",
        screen_title(case),
        caller_name(case)
    );
    if let Some(code) = &case.baseline.code {
        let _ = writeln!(
            text,
            "Always rejected with `{code}`, without a call to a backend.\n"
        );
        return;
    }
    text.push_str("| backend | fault | status | lost | within |\n|---|---|---|---|---|\n");
    let of_screen = trials.iter().filter(|t| std::ptr::eq(t.case, case));
    for trial in of_screen.filter(|t| t.backend != Backend::Auth) {
        let Trial {
            backend,
            kind,
            outcome,
            ..
        } = trial;
        let response = &outcome.response;
        let status = match &response.code {
            Some(code) => format!("{} `{code}`", response.status),
            None => response.status.to_string(),
        };
        let _ = writeln!(
            text,
            "| {backend} | {} | {status} | {} | {} |",
            kind.description(),
            describe_loss(trial).unwrap_or_else(|| "nothing".to_owned()),
            format_seconds(round_up_to_tenth(outcome.elapsed)),
        );
    }
    text.push('\n');
}

/// The screens that a backend's faults affect; one line if all faults have the same effect.
fn write_backend(backend: Backend, trials: &[Trial], text: &mut String) {
    let _ = writeln!(text, "\n### {backend}\n");
    let mut screens: BTreeMap<(String, String), Vec<&Trial>> = BTreeMap::new();
    for trial in trials.iter().filter(|t| t.backend == backend) {
        let screen = (screen_title(trial.case), caller_name(trial.case).to_owned());
        screens.entry(screen).or_default().push(trial);
    }
    if screens.is_empty() {
        text.push_str("No screen is affected.\n");
        return;
    }
    if backend == Backend::Auth {
        text.push_str(
            "Until the gateway has fetched its keys: 503 `unavailable` or 504 `deadline`. Afterwards no screen is affected.\n\n",
        );
    }
    text.push_str("| screen | callers | effect |\n|---|---|---|\n");
    for ((screen, callers), trials) in screens {
        let mut effects: Vec<(String, Vec<&str>)> = Vec::new();
        for trial in (trials.into_iter()).filter(|trial| trial.kind != FaultKind::Slow) {
            let effect = describe_effect(trial);
            match effects.iter_mut().find(|(other, _)| *other == effect) {
                Some((_, faults)) => faults.push(trial.kind.description()),
                None => effects.push((effect, vec![trial.kind.description()])),
            }
        }
        let lines: Vec<String> = match &effects[..] {
            [(effect, _)] => vec![effect.clone()],
            several => several
                .iter()
                .map(|(effect, faults)| format!("{effect} when it {}", faults.join(", ")))
                .collect(),
        };
        let _ = writeln!(text, "| {screen} | {callers} | {} |", lines.join("; "));
    }
}

fn describe_effect(trial: &Trial) -> String {
    match (&trial.outcome.response.code, lost_sections(trial)) {
        (Some(_), _) => "**screen fails**".to_owned(),
        (None, lost) if lost.is_empty() => "not affected".to_owned(),
        (None, lost) => format!("`{}` lost", lost.join("`, `")),
    }
}

/// The lost sections by reason; `None` if nothing is lost.
fn describe_loss(trial: &Trial) -> Option<String> {
    if trial.outcome.response.code.is_some() {
        return Some("the screen".to_owned());
    }
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in lost_sections(trial) {
        let section = &trial.outcome.response.sections[&name];
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

/// The sections that are not fresh.
fn lost_sections(trial: &Trial) -> Vec<String> {
    let sections = trial.outcome.response.sections.iter();
    let lost = sections.filter(|(_, section)| section["state"] != "fresh");
    lost.map(|(name, _)| name.clone()).collect()
}

fn screen_title(case: &ScreenCase) -> String {
    let ScreenOperation {
        operation,
        document,
        ..
    } = case.screen;
    let suffix = if document.is_some() { " (GraphQL)" } else { "" };
    format!("{operation}{suffix}")
}

fn caller_name(case: &ScreenCase) -> &'static str {
    match case.user {
        _ if case.screen.callers() == Callers::Partners => "partners",
        _ if !case.personal => "all callers",
        Some(_) => "signed-in callers",
        None => "anonymous callers",
    }
}

/// Rounds up to a tenth of a second, which hides the random backoff of a second attempt.
fn round_up_to_tenth(time: Duration) -> Duration {
    let tenths = time.as_micros().div_ceil(100_000).max(1);
    Duration::from_millis(u64::try_from(tenths).unwrap() * 100)
}

fn format_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
