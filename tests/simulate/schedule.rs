//! One schedule: twenty requests of several askers while a storm goes on, and what came of each.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use fleet::Callers;
use futures_util::future::{join, join_all};
use services_mock::Backend;
use tokio::time::{Instant, sleep, timeout};

use super::storm::{self, Strike};
use super::truth;
use crate::screens::{Enrolled, Told, enrolled};
use crate::subsets::deadline;
use crate::town::{Draw, Plan, Town, address, simulated};

/// How many requests a schedule makes.
const REQUESTS: u64 = 20;
/// Who asks; the first is nobody.
const ASKERS: [Option<&str>; 3] = [None, Some("ada"), Some("ben")];

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    pub(crate) gateway: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) asker: Option<&'static str>,
    pub(crate) budget: Duration,
    /// Status and body; none when the client hung up first, or its connection was lost.
    pub(crate) told: Option<(u16, String)>,
    /// The state of each section.
    pub(crate) states: Vec<String>,
    /// The promises that were broken.
    pub(crate) broken: Vec<String>,
}

/// What all requests of a schedule share.
pub(super) struct Scene<'a> {
    pub(super) town: &'a Town,
    pub(super) strikes: &'a [Strike],
    /// Whether answers are kept and calls shared.
    pub(super) keeping: bool,
    begun: Instant,
    seed: u64,
}

/// Screens by their place in the list, as each asker sees them.
type Seen = BTreeMap<(usize, Option<&'static str>), Told>;

/// Copies that are fresh for moments of a schedule and stale for the rest of it.
const KEEPING: &str = "
[cache]
max_bytes = 1000000
[upstreams.product.cache]
ttl = \"400ms\"
[upstreams.review.cache]
ttl = \"300ms\"
stale_while_revalidate = \"500ms\"
[upstreams.inventory.cache]
ttl = \"500ms\"
";
/// Longer than any call takes: all its attempts, and what lies between them.
pub(super) const LONGEST_CALL: Duration = Duration::from_secs(5);

/// Every screen while nothing is broken, and once more at another time of day.
static HEALTHY: LazyLock<[Seen; 2]> = LazyLock::new(|| {
    simulated(async {
        let town = town(1, false, false);
        let now = look(&town).await;
        sleep(Duration::from_millis(1500)).await;
        [now, look(&town).await]
    })
});

async fn look(town: &Town) -> Seen {
    let mut seen = Seen::new();
    for (which, screen) in enrolled().iter().enumerate() {
        for asker in ASKERS {
            let answer = fetch(town, screen, asker, None).await.unwrap();
            seen.insert((which, asker), answer);
        }
    }
    seen
}

/// Runs a schedule to its end; `keeping` with gateways that keep and share what they fetch.
pub(crate) fn run(seed: u64, keeping: bool) -> Vec<Event> {
    LazyLock::force(&HEALTHY);
    simulated(schedule(seed, keeping))
}

fn town(seed: u64, frail: bool, keeping: bool) -> Town {
    Town::start(Plan {
        seed,
        only: None,
        frail,
        also: if keeping {
            |_| KEEPING.to_owned()
        } else {
            |_| String::new()
        },
    })
}

async fn schedule(seed: u64, keeping: bool) -> Vec<Event> {
    let town = town(seed, true, keeping);
    let strikes = storm::draw(seed);
    let begun = Instant::now();
    let scene = Scene {
        town: &town,
        strikes: &strikes,
        keeping,
        begun,
        seed,
    };
    let asking = join_all((0..REQUESTS).map(|n| ask(&scene, n)));
    let (mut log, ()) = join(asking, storm::happen(&town, &strikes, begun)).await;
    log.sort_by_key(|event| event.at);
    // No orphans: once everybody has an answer or left, no call outlives them, hanging ones included; only what is
    // renewed in the background does, by its own deadline.
    let orphaned = Duration::from_millis(50);
    sleep(if keeping { LONGEST_CALL } else { orphaned }).await;
    for backend in Backend::ALL {
        let stats = town.mocks.stats(backend);
        // The issuer's keys are everybody's: their fetch has a deadline of its own.
        let waiting = stats.in_flight > 0 && backend != Backend::Auth;
        assert!(!waiting, "seed {seed}: orphans at {backend}");
        let public = [Backend::Product, Backend::Review, Backend::Inventory].contains(&backend);
        let personal = stats.last_headers.contains_key("x-user-id");
        assert!(!(public && personal), "seed {seed}: identity at {backend}");
    }
    log
}

async fn ask(scene: &Scene<'_>, n: u64) -> Event {
    let mut draw = Draw::of(scene.seed, "client", n);
    let which = usize::try_from(draw.below(enrolled().len() as u64)).unwrap();
    let screen = &enrolled()[which];
    let asker = draw.one(&ASKERS);
    sleep(draw.millis(4000)).await;
    let full = deadline(screen.gateway);
    let hurry = draw
        .chance(30)
        .then(|| Duration::from_millis(50 + draw.below(1500)));
    let hurry = hurry.filter(|hurry| *hurry < full);
    let patience = if draw.chance(20) {
        draw.millis(500)
    } else {
        Duration::from_secs(60)
    };
    let at = scene.begun.elapsed();
    let answer = timeout(patience, fetch(scene.town, screen, asker, hurry)).await;
    let ended = scene.begun.elapsed();
    let mut event = Event {
        at,
        took: ended.saturating_sub(at),
        gateway: screen.gateway,
        operation: &screen.operation,
        asker,
        budget: hurry.unwrap_or(full),
        told: None,
        states: Vec::new(),
        broken: Vec::new(),
    };
    let of = truth::Asked {
        screen,
        signed_in: asker.is_some() && screen.callers() == Callers::People,
        hurried: hurry.is_some(),
        from: at,
        until: ended,
    };
    match answer {
        Err(_) => return event,
        Ok(Err(why)) => event.broken = truth::of_a_loss(scene, &of, &why),
        Ok(Ok(told)) => {
            let healthy = HEALTHY.each_ref().map(|seen| &seen[&(which, asker)]);
            event.broken = truth::of_an_answer(scene, &of, &told, healthy);
            let states = told.sections.values().filter_map(|s| s["state"].as_str());
            event.states = states.map(str::to_owned).collect();
            event.told = Some((told.status, told.body.to_string()));
        }
    }
    if event.took > event.budget + Duration::from_millis(50) {
        event.broken.push("late".to_owned());
    }
    event
}

/// One answer, on a connection of its own.
async fn fetch(
    town: &Town,
    screen: &Enrolled,
    asker: Option<&str>,
    hurry: Option<Duration>,
) -> Result<Told, String> {
    let credential = screen.credential(&town.mocks, asker);
    let url = format!("http://{}", address(screen.gateway));
    let mut request = screen.request(&url, credential.as_ref());
    if let Some(hurry) = hurry {
        let millis = hurry.as_millis().to_string();
        (request.headers_mut()).insert("request-timeout", millis.parse().unwrap());
    }
    let (head, body) = town.ask(screen.gateway, request).await?.into_parts();
    Ok(screen.told(head.status.as_u16(), head.headers, &body))
}
