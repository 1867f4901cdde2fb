//! Somebody asks for a screen, and what is told is held against a healthy day.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use fleet::Callers;
use services_mock::Backend;
use tokio::time::sleep;

use super::response_invariants;
use super::schedule::{Errand, Event, Scene, town};
use crate::screens::{Enrolled, Told, enrolled};
use crate::sim_fleet::{Called, Draw, SimFleet, address, simulated};

/// Who asks; the first is nobody.
pub(super) const ASKERS: [Option<&str>; 3] = [None, Some("ada"), Some("ben")];

/// A screen as one asker sees it on a healthy day.
pub(super) struct Healthy {
    pub(super) told: Told,
    /// How often each backend is called for it, by method and path.
    pub(super) calls: BTreeMap<(Backend, String), usize>,
}

/// Screens by gateway, operation and asker.
type Seen = BTreeMap<(&'static str, &'static str, Option<&'static str>), Healthy>;

/// Every screen while nothing is broken, and once more at another time of day.
pub(super) static HEALTHY: LazyLock<[Seen; 2]> = LazyLock::new(|| {
    simulated(async {
        let town = town(1, false, false, false);
        let now = look(&town, "now").await;
        sleep(Duration::from_millis(1500)).await;
        [now, look(&town, "later").await]
    })
});

async fn look(town: &SimFleet, when: &str) -> Seen {
    let mut seen = Seen::new();
    for screen in enrolled() {
        for asker in ASKERS {
            let operation = &*screen.operation;
            let id = format!("{when}-{}", seen.len());
            let credential = screen.credential(&town.mocks, asker);
            let mut request = screen.request(&at(screen.gateway), credential.as_ref());
            (request.headers_mut()).insert("x-request-id", id.parse().unwrap());
            let answer = town.ask(screen.gateway, request).await.unwrap();
            let (head, body) = answer.into_parts();
            let mut calls = BTreeMap::new();
            for Called { backend, line, .. } in town.record.calls_of(&id) {
                *calls.entry((backend, line)).or_default() += 1;
            }
            let told = screen.told(head.status.as_u16(), head.headers, &body);
            let key = (screen.gateway, operation, asker);
            seen.insert(key, Healthy { told, calls });
        }
    }
    seen
}

/// What was seen of the screen that an event asked for, if it asked for one.
pub(super) fn healthy(event: &Event) -> Option<&'static Healthy> {
    HEALTHY[0].get(&(event.gateway, event.operation, event.asker))
}

/// One visit by chance.
pub(super) async fn draw(scene: &Scene<'_>, draw: &mut Draw, id: String) -> Event {
    let open = |s: &&Enrolled| scene.thronged.is_none_or(|only| s.gateway == only);
    let open: Vec<&Enrolled> = enrolled().iter().filter(open).collect();
    let mut screen = draw.one(&open);
    // Who comes at the same moment as others often comes for the same, whoever it is.
    if scene.thronged.is_some() && draw.chance(60) {
        let moment = u64::try_from(scene.now().as_millis()).unwrap_or(0);
        screen = Draw::of(scene.seed, "moment", moment).one(&open);
    }
    let asker = draw.one(&ASKERS);
    let errand = Errand::draw(draw, screen.gateway, &screen.operation, asker);
    visit(scene, screen, &errand, id).await
}

/// Asks for a screen, and holds what is told against a healthy day.
pub(super) async fn visit(
    scene: &Scene<'_>,
    screen: &'static Enrolled,
    errand: &Errand,
    id: String,
) -> Event {
    let credential = screen.credential(&scene.town.mocks, errand.asker);
    let request = screen.request(&at(screen.gateway), credential.as_ref());
    let (mut event, came) = errand.run(scene, request, id).await;
    let key = (screen.gateway, &*screen.operation, errand.asker);
    let healthy = HEALTHY.each_ref().map(|seen| &seen[&key].told);
    let asked = response_invariants::Asked {
        screen,
        signed_in: errand.asker.is_some() && screen.callers() == Callers::People,
        request: event.request.clone(),
        from: event.at,
        until: event.at + event.took,
    };
    match came {
        None => {}
        Some(Err(why)) => event
            .broken
            .extend(response_invariants::of_a_loss(scene, &event, &why)),
        Some(Ok(answer)) => {
            let (head, body) = answer.into_parts();
            let told = screen.told(head.status.as_u16(), head.headers, &body);
            let broken = response_invariants::of_an_answer(scene, &asked, &told, healthy);
            event.broken.extend(broken);
            let states = told.sections.values().filter_map(|s| s["state"].as_str());
            event.states = states.map(str::to_owned).collect();
        }
    }
    event
}

fn at(gateway: &str) -> String {
    format!("http://{}", address(gateway))
}
