//! Whether what reached the backends was right: for whom it said that it came, how often and with how much time, and when
//! it ended.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::{Callers, GATEWAYS};
use services_mock::Backend;

use super::client_request;
use super::schedule::{Event, GRACE, Scene};
use crate::sim_fleet::Called;

/// The most attempts at one call, and the most that one request may make beyond the calls it needs.
const ATTEMPTS: usize = 2;
const EXTRA: usize = 3;
/// What a backend may be asked beyond that by one life of a gateway within a schedule, as it is shipped: a share of the
/// calls that are needed, what is lent, and one of those that comes back.
const SHARE: usize = 10;
const LENT: usize = 3 + 1;

/// How often each gateway asked each backend, and how many of those calls were extra.
type Efforts = BTreeMap<(&'static str, Backend), (usize, usize)>;

/// Adds what is wrong to the request that it was done for. What was done for none, a renewal, is nobody's own.
pub(super) fn check(scene: &Scene<'_>, log: &mut [Event]) {
    let mut by_request: BTreeMap<String, Vec<Called>> = BTreeMap::new();
    for called in scene.town.record.calls() {
        let request = called.request.clone();
        by_request.entry(request).or_default().push(called);
    }
    let ends: Vec<_> = (log.iter())
        .map(|e| (e.gateway, e.at, e.at + e.took))
        .collect();
    let mut efforts = Efforts::default();
    for event in log.iter_mut() {
        let calls = by_request.remove(&event.request).unwrap_or_default();
        let calls = calls.iter().filter(|c| c.backend != Backend::Auth);
        let calls: Vec<&Called> = calls.collect();
        whose(&calls, event);
        effort(&calls, event, &mut efforts);
        if client_request::healthy(event).is_some() {
            time(scene, &calls, event);
            ended(scene, &calls, event, &ends);
        }
    }
    // A call that is shared is done for one of several requests, and a renewal for none.
    if !scene.keeping {
        budgets(scene, &efforts, log);
    }
    let own = by_request
        .into_values()
        .flatten()
        .find(|c| c.user.is_some());
    let own = own.filter(|called| called.request != super::checkout::BOOKS);
    assert!(own.is_none(), "seed {}: of no request: {own:?}", scene.seed);
}

/// Whoever asked, and nobody else; what is the same for all is asked for without a name.
fn whose(calls: &[&Called], event: &mut Event) {
    let people = |g: &&fleet::Gateway| g.name == event.gateway && g.callers() == Callers::People;
    let asker = event.asker.filter(|_| GATEWAYS.iter().any(|g| people(&g)));
    for called in calls.iter().filter(|called| !called.is_for(asker)) {
        event
            .broken
            .push(format!("asked for somebody else: {called:?}"));
    }
}

/// No call more often than it may be tried, none that a healthy day does not need, and few extra ones in all.
fn effort(calls: &[&Called], event: &mut Event, efforts: &mut Efforts) {
    let mut made: BTreeMap<(Backend, &str), usize> = BTreeMap::new();
    for called in calls {
        *made.entry((called.backend, &called.line)).or_default() += 1;
    }
    // A checkout asks how its order stands before the money is authorised, and before it is taken.
    let paid = made.keys().any(|(backend, _)| *backend == Backend::Payment);
    let mut extra = 0;
    for ((backend, line), made) in made {
        let (needed, most) = match client_request::healthy(event) {
            Some(healthy) => {
                let needed = healthy.calls.get(&(backend, line.to_owned()));
                let needed = needed.copied().unwrap_or_default();
                (needed, needed * ATTEMPTS)
            }
            // What is passed on says of no write that it may be done twice.
            None if event.operation == "cancel" => (1, 1),
            None if paid && line.starts_with("GET /orders/") => (2, 2 * ATTEMPTS),
            None => (1, ATTEMPTS),
        };
        let beyond = made.saturating_sub(needed);
        let effort = efforts.entry((event.gateway, backend)).or_default();
        *effort = (effort.0 + needed, effort.1 + beyond);
        extra += beyond;
        if made > most {
            event
                .broken
                .push(format!("{line} at {backend} {made} times, {most} at most"));
        }
    }
    if extra > EXTRA {
        event
            .broken
            .push(format!("{extra} attempts more than needed"));
    }
}

/// Whoever asks a gateway, none of its backends bears more than a share of extra attempts.
fn budgets(scene: &Scene<'_>, efforts: &Efforts, log: &mut [Event]) {
    for ((gateway, backend), (calls, extra)) in efforts {
        let ends = scene.strikes.iter().filter(|s| s.place == *gateway);
        let most = calls / SHARE + LENT * (1 + ends.count());
        let last = log.iter_mut().rfind(|event| event.gateway == *gateway);
        if let Some(last) = last.filter(|_| *extra > most) {
            let broken =
                format!("{extra} extra attempts at {backend} of {calls} calls, {most} at most");
            last.broken.push(broken);
        }
    }
}

/// No call is given more time than its request has left. Whoever joins a call may bring more.
fn time(scene: &Scene<'_>, calls: &[&Called], event: &mut Event) {
    let end = event.at + event.budget;
    for called in calls {
        let right = called.ends_by(end) || scene.keeping && called.within.is_some();
        if !right {
            event
                .broken
                .push(format!("it ends at {end:?}, not {called:?}"));
        }
    }
}

/// Nothing goes on for somebody who has an answer, or hung up; of a call that is shared, for the last of those.
fn ended(
    scene: &Scene<'_>,
    calls: &[&Called],
    event: &mut Event,
    ends: &[(&str, Duration, Duration)],
) {
    let end = event.at + event.took + GRACE;
    for called in calls {
        let left = called.left.unwrap_or(Duration::MAX);
        let before = left.saturating_sub(GRACE);
        let shared = scene.keeping
            && (ends.iter())
                .any(|(g, from, until)| *g == event.gateway && *from <= before && before <= *until);
        if left > end && !shared {
            event.broken.push(format!("nobody waits for {called:?}"));
        }
    }
}
