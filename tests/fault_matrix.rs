//! Every screen of every gateway under every subset of its backends that fail, in every mix of five ways: what the
//! client gets is the truth, in time, and nothing else changes. Screens enrol by existing.
//!
//! Every subset that fails in one way meets a fleet of its own that has just started, as it is shipped; a mix meets one
//! whose breakers never open, and which has been left alone since the case before. All on pipes with a paused clock:
//! nobody waits.

use std::collections::BTreeMap;

use services_mock::Backend;

pub(crate) use case::{Assignment, Blow, Outcome, Visit, visits};
pub(crate) use contract_invariants::{
    deadline, forget_hours, sections_header, sources, status, take,
};

mod case;
mod contract_invariants;

/// The most mixes of one screen that are all tried: four backends, each well or in one of five ways not.
const AFFORDABLE: usize = 1296;

#[test]
fn every_subset_of_failing_backends_is_told_truly() {
    let (mut subsets, mut mixes, mut broken) = (0, 0, Vec::new());
    for visit in visits() {
        let mut hold_against = |assignment: &Assignment, outcome: &Outcome| {
            for line in contract_invariants::broken(visit, assignment, outcome) {
                broken.push(format!("{visit}, {assignment:?}: {line}"));
            }
        };
        let all = assignments(visit);
        let (one_way, several): (Vec<_>, Vec<_>) = all.iter().partition(|a| is_one_way(a));
        for assignment in &one_way {
            hold_against(assignment, &visit.under(assignment));
        }
        for (assignment, outcome) in visit.under_each(&several) {
            hold_against(assignment, &outcome);
        }
        subsets += one_way.len();
        mixes += several.len();
    }
    eprintln!(
        "{} cases: {subsets} subsets that fail in one way, {mixes} in several, of {} screens as their askers see them",
        subsets + mixes,
        visits().len()
    );
    let shown = broken.iter().take(20).cloned().collect::<Vec<_>>();
    let count = broken.len();
    assert!(
        broken.is_empty(),
        "{count} broken promises:\n{}",
        shown.join("\n")
    );
}

#[test]
fn a_healthy_screen_is_whole_and_says_whom_it_asked() {
    for visit in visits() {
        let said = contract_invariants::broken_when_healthy(visit);
        assert!(said.is_empty(), "{visit}: {said:?}: {}", visit.told.body);
    }
}

#[test]
fn a_backend_that_a_screen_does_not_call_does_not_touch_it() {
    for visit in visits() {
        for blow in Blow::ALL {
            let others = Backend::ALL.iter().filter(|b| **b != Backend::Auth);
            let others = others.filter(|b| !visit.calls.contains_key(b));
            let assignment: Assignment = others.map(|b| (*b, blow)).collect();
            let said = contract_invariants::broken(visit, &assignment, &visit.under(&assignment));
            assert!(said.is_empty(), "{visit}, {assignment:?}: {said:?}");
        }
    }
}

#[test]
fn an_issuer_that_fails_before_its_keys_are_known_stops_the_signed_in_only() {
    for visit in visits() {
        for blow in Blow::ALL {
            let assignment = Assignment::from([(Backend::Auth, blow)]);
            let outcome = visit.under(&assignment);
            let case = format!("{visit}, {blow:?}: {}", outcome.told.body);
            if visit.user.is_none() || blow == Blow::Slow {
                assert_eq!(outcome.told.body, visit.told.body, "{case}");
                continue;
            }
            let status = outcome.told.status;
            let code = outcome.told.body["code"].as_str().unwrap();
            let truthful = [(503, "unavailable"), (504, "deadline")];
            assert!(truthful.contains(&(status, code)), "{case}");
            assert!(
                outcome.took <= deadline(visit.screen.gateway) + contract_invariants::GRACE,
                "{case}"
            );
            assert!(outcome.calls.keys().all(|b| *b == Backend::Auth), "{case}");
            // The keys are everybody's: whoever waits for them cannot stop their fetch, which has a deadline of its own.
            assert!(
                outcome.orphans.iter().all(|b| *b == Backend::Auth),
                "{case}"
            );
        }
    }
}

/// Every mix of well and not well; where those are too many, every subset that fails in one way.
fn assignments(visit: &Visit) -> Vec<Assignment> {
    let backends: Vec<Backend> = visit.calls.keys().copied().collect();
    let ways = Blow::ALL.len() + 1;
    let mixes = ways.pow(u32::try_from(backends.len()).unwrap());
    if mixes <= AFFORDABLE {
        let nth = |number: usize| {
            let digit = |at: usize| number / ways.pow(u32::try_from(at).unwrap()) % ways;
            let blow = |at: usize| digit(at).checked_sub(1).map(|way| Blow::ALL[way]);
            let struck = backends.iter().enumerate();
            struck.filter_map(|(at, b)| Some((*b, blow(at)?))).collect()
        };
        return (0..mixes).map(nth).collect();
    }
    let mut all = vec![Assignment::new()];
    for blow in Blow::ALL {
        let subset = |bits: usize| {
            let chosen = backends.iter().enumerate();
            let chosen = chosen.filter(|(at, _)| bits >> at & 1 == 1);
            chosen.map(|(_, b)| (*b, blow)).collect::<BTreeMap<_, _>>()
        };
        all.extend((1..1 << backends.len()).map(subset));
    }
    all
}

fn is_one_way(assignment: &Assignment) -> bool {
    let mut ways = assignment.values();
    let first = ways.next();
    ways.all(|way| Some(way) == first)
}

#[test]
fn all_subsets_are_drawn_up_however_many_there_are() {
    let visit = &visits()[0];
    let with = |count: usize| Visit {
        calls: Backend::ALL
            .into_iter()
            .take(count)
            .map(|b| (b, 1))
            .collect(),
        ..visit.clone()
    };
    for (count, expected) in [(0, 1), (1, 6), (2, 36), (4, 1296), (5, 5 * 31 + 1)] {
        let mut all = assignments(&with(count));
        assert_eq!(all.len(), expected);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), expected, "none twice");
        let subsets = all.iter().filter(|a| is_one_way(a)).count();
        assert_eq!(subsets, 5 * ((1 << count) - 1) + 1);
    }
}
