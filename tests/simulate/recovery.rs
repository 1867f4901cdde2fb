//! When the storm is over: what was left out because a breaker was open is there again, and for all at once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use services_mock::{Backend, Fault};
use tokio::time::sleep;

use super::client_request::{ASKERS, HEALTHY, Healthy, healthy, visit};
use super::schedule::{Errand, Event, GRACE, Scene};
use crate::screens::{Enrolled, enrolled};
use crate::sim_fleet::Draw;

/// A breaker that is no longer open lets a few calls through first.
const TRIES: u32 = 8;
/// How many of them must be good before it is closed, as it is shipped.
const CLOSES_AFTER: u32 = 3;
/// Longer than a copy is of use, in a schedule that keeps some: whoever comes then, calls.
const FORGOTTEN: Duration = Duration::from_secs(2);
/// What an answer takes while some leave without it.
const DAWDLE: Duration = Duration::from_millis(30);
/// More than a breaker lets through that is not closed, and fewer than a gateway ever works on at once.
const AT_ONCE: usize = 12;

/// A screen as somebody sees it.
type Seen = (&'static Enrolled, Option<&'static str>);

/// Some ask and leave, then others wait until what was lost is there again, and at last many come at once.
pub(super) async fn again(scene: &Scene<'_>, log: &[Event]) -> Vec<Event> {
    let mut events = Vec::new();
    let lost = lost(log);
    for (n, seen) in lost.iter().enumerate() {
        let visitors = Visitors(scene, format!("again-{n}"));
        events.extend(visitors.leave(*seen).await);
        events.extend(visitors.wait(*seen).await);
    }
    let gateways: BTreeSet<&str> = lost.iter().map(|(screen, _)| screen.gateway).collect();
    for gateway in gateways {
        let visitors = Visitors(scene, format!("all-{gateway}"));
        events.extend(visitors.throng(gateway, &lost).await);
    }
    events
}

/// Whatever somebody missed because a backend was left alone.
fn lost(log: &[Event]) -> Vec<Seen> {
    let missed = |e: &&Event| {
        let told = e.told.as_ref();
        healthy(e).is_some() && told.is_some_and(|(_, body)| body.contains("circuit_open"))
    };
    let missed = log.iter().filter(missed);
    let missed: BTreeSet<_> = missed.map(|e| (e.gateway, e.operation, e.asker)).collect();
    let seen = |(gateway, operation, asker)| {
        let same = |s: &&Enrolled| s.gateway == gateway && s.operation == operation;
        (enrolled().iter().find(same).unwrap(), asker)
    };
    missed.into_iter().map(seen).collect()
}

fn on_a_healthy_day((screen, asker): Seen) -> &'static Healthy {
    &HEALTHY[0][&(screen.gateway, &*screen.operation, asker)]
}

fn backends(seen: Seen) -> BTreeSet<Backend> {
    let calls = on_a_healthy_day(seen).calls.keys();
    let called = calls.map(|(backend, _)| *backend);
    // The issuer's keys are known by then.
    called.filter(|backend| *backend != Backend::Auth).collect()
}

/// Whether somebody sees all that there is.
fn is_whole(event: &Event, seen: Seen) -> bool {
    let wanted = &on_a_healthy_day(seen).told;
    let status = event.told.as_ref().map(|(status, _)| *status);
    status == Some(wanted.status)
        && event.states.len() == wanted.sections.len()
        && event.states.iter().all(|state| state != "missing")
}

/// Those who come after a storm, and what their requests are called.
struct Visitors<'a>(&'a Scene<'a>, String);

impl Visitors<'_> {
    async fn visit(
        &self,
        (screen, asker): Seen,
        patience: Option<Duration>,
        turn: String,
    ) -> Event {
        let errand = match patience {
            Some(patience) => Errand::until(screen.gateway, &screen.operation, asker, patience),
            None => Errand::patient(screen.gateway, &screen.operation, asker),
        };
        let id = format!("{}-{turn}", self.1);
        visit(self.0, screen, &errand, id).await
    }

    /// Some hang up, one after the other, while backends that are well take their time: that says nothing about those,
    /// and nobody's place is taken for good.
    async fn leave(&self, seen: Seen) -> Vec<Event> {
        let mocks = &self.0.town.mocks;
        for backend in backends(seen) {
            mocks.set_fault(backend, Fault::latency(DAWDLE)).unwrap();
        }
        let mut events = Vec::new();
        for turn in 0..CLOSES_AFTER {
            events.push(
                self.visit(seen, Some(DAWDLE / 2), format!("leaves-{turn}"))
                    .await,
            );
        }
        sleep(GRACE).await;
        for backend in backends(seen) {
            let waiting = mocks.stats(backend).in_flight;
            assert_eq!(waiting, 0, "seed {}: orphans at {backend}", self.0.seed);
            mocks.clear_faults(Some(backend));
        }
        events
    }

    /// One after the other, each calling for itself.
    async fn wait(&self, seen: Seen) -> Vec<Event> {
        let (mut events, mut good): (Vec<Event>, u32) = (Vec::new(), 0);
        for turn in 0..TRIES {
            sleep(FORGOTTEN).await;
            let event = self.visit(seen, None, turn.to_string()).await;
            good += u32::from(is_whole(&event, seen));
            events.push(event);
            if good == CLOSES_AFTER {
                return events;
            }
        }
        if let Some(last) = events.last_mut() {
            last.broken.push("it is not mended".to_owned());
        }
        events
    }

    /// Many at once, of all who need nothing but what was waited for: there is no breaker in their way.
    async fn throng(&self, gateway: &str, lost: &[Seen]) -> Vec<Event> {
        sleep(FORGOTTEN).await;
        let own = lost.iter().filter(|(screen, _)| screen.gateway == gateway);
        let mended: BTreeSet<Backend> = own.flat_map(|seen| backends(*seen)).collect();
        let screens = enrolled().iter().filter(|s| s.gateway == gateway);
        let all = screens.flat_map(|screen| ASKERS.map(|asker| (screen, asker)));
        let mut all: Vec<Seen> = all.filter(|s| backends(*s).is_subset(&mended)).collect();
        let mut draw = Draw::of(self.0.seed, "all at once", 0);
        all.sort_by_cached_key(|_| draw.below(1 << 32));
        all.truncate(AT_ONCE);
        let visits = all.iter().enumerate();
        let visits = visits.map(|(turn, seen)| self.visit(*seen, None, turn.to_string()));
        let mut events = join_all(visits).await;
        for (event, seen) in events.iter_mut().zip(all) {
            if !is_whole(event, seen) {
                event.broken.push("not all have it again".to_owned());
            }
        }
        events
    }
}
