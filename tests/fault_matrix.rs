//! Every screen of every gateway under every subset of its backends that fail, in every combination of five kinds of
//! fault. The response must report exactly the lost sections, in time, and everything else must equal the baseline.
//!
//! A subset with one kind of fault gets a new fleet with the shipped configuration. All mixed cases of a screen share one
//! fleet whose circuit breakers never open; it rests between two cases. The clock is paused, so nothing waits.
//!
//! An ordinary run has every single fault, and a part of the rest: of the larger subsets each with one of the five kinds,
//! and every eighth combination of several kinds. `ALL_CASES=1` runs all of them.

use std::collections::BTreeMap;

use services_mock::Backend;

pub(crate) use case::{Assignment, FaultKind, Outcome, ScreenCase, screen_cases};
pub(crate) use contract_invariants::{
    deadline, remove_expiry, remove_section, sections_header, sources, status_of,
};

use crate::support::runs_all_cases;

mod case;
mod contract_invariants;

/// The most combinations of one screen that all run: four backends, each healthy or with one of five faults.
const MAX_COMBINATIONS: usize = 1296;

#[test]
fn every_subset_of_failing_backends_is_reported_correctly() {
    let (mut subsets, mut mixes, mut violations) = (0, 0, Vec::new());
    for (number, case) in screen_cases().iter().enumerate() {
        let mut check = |assignment: &Assignment, outcome: &Outcome| {
            for line in contract_invariants::violations(case, assignment, outcome) {
                violations.push(format!("{case}, {assignment:?}: {line}"));
            }
        };
        let all = assignments(case);
        let (mut uniform, mut varied): (Vec<_>, Vec<_>) = all.iter().partition(|a| is_uniform(a));
        if !runs_all_cases() {
            uniform.retain(|assignment| is_selected(assignment, number));
            varied = varied.into_iter().skip(number % 8).step_by(8).collect();
        }
        for assignment in &uniform {
            check(assignment, &case.run(assignment));
        }
        for (assignment, outcome) in case.run_all(&varied) {
            check(assignment, &outcome);
        }
        subsets += uniform.len();
        mixes += varied.len();
    }
    eprintln!(
        "{} cases: {subsets} subsets with one kind of fault, {mixes} with several, of {} screens and callers",
        subsets + mixes,
        screen_cases().len()
    );
    let first = violations.iter().take(20).cloned().collect::<Vec<_>>();
    let count = violations.len();
    assert!(
        violations.is_empty(),
        "{count} violations:\n{}",
        first.join("\n")
    );
}

#[test]
fn a_healthy_screen_is_complete_and_names_its_sources() {
    for case in screen_cases() {
        let violations = contract_invariants::baseline_violations(case);
        let body = &case.baseline.body;
        assert!(violations.is_empty(), "{case}: {violations:?}: {body}");
    }
}

#[test]
fn a_backend_that_a_screen_does_not_call_has_no_effect_on_it() {
    for (number, case) in screen_cases().iter().enumerate() {
        for kind in selected_kinds(number, 1) {
            let others = Backend::ALL.iter().filter(|b| **b != Backend::Auth);
            let others = others.filter(|b| !case.calls.contains_key(b));
            let assignment: Assignment = others.map(|b| (*b, kind)).collect();
            let outcome = case.run(&assignment);
            let violations = contract_invariants::violations(case, &assignment, &outcome);
            assert!(
                violations.is_empty(),
                "{case}, {assignment:?}: {violations:?}"
            );
        }
    }
}

#[test]
fn an_issuer_that_fails_before_its_keys_are_fetched_affects_signed_in_callers_only() {
    for (number, case) in screen_cases().iter().enumerate() {
        for kind in selected_kinds(number, 2) {
            let assignment = Assignment::from([(Backend::Auth, kind)]);
            let outcome = case.run(&assignment);
            let details = format!("{case}, {kind:?}: {}", outcome.response.body);
            if case.user.is_none() || kind == FaultKind::Slow {
                assert_eq!(outcome.response.body, case.baseline.body, "{details}");
                continue;
            }
            let status = outcome.response.status;
            let code = outcome.response.body["code"].as_str().unwrap();
            let allowed = [(503, "unavailable"), (504, "deadline")];
            assert!(allowed.contains(&(status, code)), "{details}");
            assert!(
                outcome.elapsed <= deadline(case.screen.gateway) + contract_invariants::GRACE,
                "{details}"
            );
            let mut called = outcome.calls.keys();
            assert!(called.all(|b| *b == Backend::Auth), "{details}");
            // All callers share the fetch of the keys. It has its own deadline and continues after a caller gave up.
            assert!(
                outcome.orphans.iter().all(|b| *b == Backend::Auth),
                "{details}"
            );
        }
    }
}

/// Every combination of healthy and faulty backends. If those are too many: every subset with one kind of fault.
fn assignments(case: &ScreenCase) -> Vec<Assignment> {
    let backends: Vec<Backend> = case.calls.keys().copied().collect();
    let states = FaultKind::ALL.len() + 1;
    let combinations = states.pow(u32::try_from(backends.len()).unwrap());
    if combinations <= MAX_COMBINATIONS {
        let nth = |number: usize| {
            let digit = |at: usize| number / states.pow(u32::try_from(at).unwrap()) % states;
            let kind = |at: usize| (digit(at).checked_sub(1)).map(|index| FaultKind::ALL[index]);
            let backends = backends.iter().enumerate();
            backends
                .filter_map(|(at, b)| Some((*b, kind(at)?)))
                .collect()
        };
        return (0..combinations).map(nth).collect();
    }
    let mut all = vec![Assignment::new()];
    for kind in FaultKind::ALL {
        let subset = |bits: usize| {
            let chosen = backends.iter().enumerate();
            let chosen = chosen.filter(|(at, _)| bits >> at & 1 == 1);
            chosen.map(|(_, b)| (*b, kind)).collect::<BTreeMap<_, _>>()
        };
        all.extend((1..1 << backends.len()).map(subset));
    }
    all
}

/// Whether an ordinary run has this assignment of one kind. Each larger subset has one kind, which depends on the screen.
fn is_selected(assignment: &Assignment, screen: usize) -> bool {
    let Some(kind) = assignment.values().next() else {
        return true;
    };
    let subset: usize = assignment
        .keys()
        .map(|backend| 1 << *backend as usize)
        .sum();
    let sum = *kind as usize + subset + screen;
    assignment.len() == 1 || sum.is_multiple_of(FaultKind::ALL.len())
}

/// Kinds of faults for the screen with this number: `count` in an ordinary run. Together the screens have each kind.
fn selected_kinds(screen: usize, count: usize) -> Vec<FaultKind> {
    let all = FaultKind::ALL;
    let count = if runs_all_cases() { all.len() } else { count };
    (0..count).map(|n| all[(screen + n) % all.len()]).collect()
}

/// Whether all faults are of one kind.
fn is_uniform(assignment: &Assignment) -> bool {
    let mut kinds = assignment.values();
    let first = kinds.next();
    kinds.all(|kind| Some(kind) == first)
}

#[test]
fn assignments_contain_every_subset_once() {
    let case = &screen_cases()[0];
    let with = |count: usize| ScreenCase {
        calls: Backend::ALL
            .into_iter()
            .take(count)
            .map(|b| (b, 1))
            .collect(),
        ..case.clone()
    };
    for (count, expected) in [(0, 1), (1, 6), (2, 36), (4, 1296), (5, 5 * 31 + 1)] {
        let mut all = assignments(&with(count));
        assert_eq!(all.len(), expected);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), expected, "an assignment occurs twice");
        let subsets = all.iter().filter(|a| is_uniform(a)).count();
        assert_eq!(subsets, 5 * ((1 << count) - 1) + 1);
        for screen in 0..5 {
            let selected = (all.iter()).filter(|a| is_uniform(a) && is_selected(a, screen));
            // Five of each backend alone, and one of each larger subset.
            assert_eq!(selected.count(), 4 * count + (1 << count));
        }
    }
}
