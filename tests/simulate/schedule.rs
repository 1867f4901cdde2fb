//! One schedule: twenty requests of several askers while a storm goes on, what came of each, and what is left of it
//! when the sky is clear again.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use fleet::Gateway;
use futures_util::future::{join, join_all};
use http::{Request, Response};
use http_body_util::Full;
use services_mock::Backend;
use tokio::time::{Instant, sleep, timeout};

use super::checkout::Till;
use super::fault_schedule::{self, Strike};
use super::{client_request, recovery, upstream_invariants};
use crate::fault_matrix::deadline;
use crate::sim_fleet::{Draw, Plan, SimFleet, simulated};

/// How many requests a schedule makes.
const REQUESTS: u64 = 20;
/// Longer than any call takes: all its attempts, and what lies between them.
pub(super) const LONGEST_CALL: Duration = Duration::from_secs(5);
/// How soon after an answer or a hang-up nothing of it goes on.
pub(super) const GRACE: Duration = Duration::from_millis(50);
/// After a storm everything is as it was: longer than a breaker stays open.
const MENDED_WITHIN: Duration = Duration::from_secs(90);

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its `X-Request-ID`.
    pub(crate) request: String,
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
    pub(super) town: &'a SimFleet,
    pub(super) strikes: &'a [Strike],
    /// Whether answers are kept and calls shared.
    pub(super) keeping: bool,
    /// Whether a backend's latency counts as known after a few calls, as it is after many: calls are hedged then, and
    /// those that would come too late are not made.
    pub(super) measured: bool,
    pub(super) seed: u64,
    /// The only gateway that is asked, in a schedule that throngs one, by several at the same moment.
    pub(super) thronged: Option<&'static str>,
}

/// A request that is about to be made: who asks whom, when, and with how much patience.
pub(super) struct Errand {
    pub(super) gateway: &'static str,
    pub(super) operation: &'static str,
    pub(super) asker: Option<&'static str>,
    /// The client's own deadline, if it has one.
    pub(super) hurry: Option<Duration>,
    patience: Duration,
}

/// Copies that are fresh for moments of a schedule and stale for the rest of it.
const KEEPING: [(&str, &str); 3] = [
    ("product", "ttl = \"400ms\""),
    (
        "review",
        "ttl = \"300ms\"\nstale_while_revalidate = \"500ms\"",
    ),
    ("inventory", "ttl = \"500ms\""),
];

/// So few calls say how long a backend takes that a schedule has enough of them.
const MEASURED: &str = "
[upstream_defaults.latency]
min_samples = 4
";

impl Errand {
    /// Some are in a hurry, some hang up, most wait.
    pub(super) fn draw(
        draw: &mut Draw,
        gateway: &'static str,
        operation: &'static str,
        asker: Option<&'static str>,
    ) -> Self {
        let hurry = draw.chance(30).then(|| 50 + draw.below(1500));
        let hurry = hurry.map(Duration::from_millis);
        let patience = if draw.chance(20) {
            draw.millis(500)
        } else {
            Duration::from_secs(60)
        };
        Self {
            gateway,
            operation,
            asker,
            hurry: hurry.filter(|hurry| *hurry < deadline(gateway)),
            patience,
        }
    }

    /// Nobody is in a hurry.
    pub(super) fn patient(
        gateway: &'static str,
        operation: &'static str,
        asker: Option<&'static str>,
    ) -> Self {
        Self::until(gateway, operation, asker, Duration::from_secs(60))
    }

    /// Somebody hangs up after so long.
    pub(super) fn until(
        gateway: &'static str,
        operation: &'static str,
        asker: Option<&'static str>,
        patience: Duration,
    ) -> Self {
        Self {
            gateway,
            operation,
            asker,
            hurry: None,
            patience,
        }
    }

    /// Asks, and says what came of it: an answer, the reason why a connection was lost, or nothing after a hang-up.
    pub(super) async fn run(
        &self,
        scene: &Scene<'_>,
        mut request: Request<Full<Bytes>>,
        id: String,
    ) -> (Event, Option<Result<Response<Bytes>, String>>) {
        let headers = request.headers_mut();
        if let Some(hurry) = self.hurry {
            let millis = hurry.as_millis().to_string();
            headers.insert("request-timeout", millis.parse().unwrap());
        }
        headers.insert("x-request-id", id.parse().unwrap());
        let at = scene.now();
        let asked = scene.town.ask(self.gateway, request);
        let came = timeout(self.patience, asked).await.ok();
        let took = scene.now().saturating_sub(at);
        let budget = self.hurry.unwrap_or_else(|| deadline(self.gateway));
        let mut event = Event {
            request: id,
            at,
            took,
            gateway: self.gateway,
            operation: self.operation,
            asker: self.asker,
            budget,
            told: None,
            states: Vec::new(),
            broken: Vec::new(),
        };
        if let Some(Ok(answer)) = &came {
            let body = String::from_utf8_lossy(answer.body()).into_owned();
            event.told = Some((answer.status().as_u16(), body));
            if took > budget + GRACE {
                event.broken.push("late".to_owned());
            }
        }
        (event, came)
    }
}

impl Scene<'_> {
    /// Time since the town began.
    pub(super) fn now(&self) -> Duration {
        self.town.record.now()
    }
}

/// Runs a schedule to its end; `keeping` with gateways that keep and share what they fetch.
pub(crate) fn run(seed: u64, keeping: bool) -> Vec<Event> {
    LazyLock::force(&client_request::HEALTHY);
    simulated(schedule(seed, keeping))
}

/// The overlay of a gateway that caches, for the backends that it has.
fn keeping_overlay(gateway: &Gateway) -> String {
    let mut overlay = "[cache]\nmax_bytes = 1000000\n".to_owned();
    for name in gateway.upstreams() {
        if let Some((_, keys)) = KEEPING.iter().find(|(backend, _)| *backend == name) {
            overlay += &format!("[upstreams.{name}.cache]\n{keys}\n");
        }
    }
    overlay
}

pub(super) fn town(seed: u64, frail: bool, keeping: bool, measured: bool) -> SimFleet {
    let also: fn(&Gateway) -> String = match (keeping, measured) {
        (false, false) => |_| String::new(),
        (true, false) => keeping_overlay,
        (false, true) => |_| MEASURED.to_owned(),
        (true, true) => |gateway| keeping_overlay(gateway) + MEASURED,
    };
    SimFleet::start(Plan {
        seed,
        only: None,
        frail,
        also,
    })
}

async fn schedule(seed: u64, keeping: bool) -> Vec<Event> {
    let measured = Draw::of(seed, "measured", 0).chance(50);
    let town = town(seed, true, keeping, measured);
    let (strikes, begun) = (fault_schedule::draw(seed), Instant::now());
    let mut draw = Draw::of(seed, "throng", 0);
    let names: Vec<&str> = fleet::GATEWAYS.iter().map(|g| g.name).collect();
    let thronged = draw.chance(50).then(|| draw.one(&names));
    let scene = Scene {
        town: &town,
        strikes: &strikes,
        keeping,
        measured,
        seed,
        thronged,
    };
    let till = Till::open(&scene).await;
    let asking = join_all((0..REQUESTS).map(|n| ask(&scene, &till, n)));
    let (mut log, ()) = join(asking, fault_schedule::happen(&town, &strikes, begun)).await;
    // No orphans: once everybody has an answer or left, no call outlives them, hanging ones included; only what is
    // renewed in the background does, by its own deadline.
    sleep(if keeping { LONGEST_CALL } else { GRACE }).await;
    for backend in Backend::ALL {
        // The issuer's keys are everybody's: their fetch has a deadline of its own. A write runs to its end.
        let own = [Backend::Auth, Backend::Order, Backend::Payment].contains(&backend);
        let waiting = town.mocks.stats(backend).in_flight > 0 && !own;
        assert!(!waiting, "seed {seed}: orphans at {backend}");
    }
    sleep(LONGEST_CALL).await;
    upstream_invariants::check(&scene, &mut log);
    till.count(&mut log).await;
    town.clear_faults();
    sleep(MENDED_WITHIN).await;
    let (again, settled) = (recovery::again(&scene, &log).await, till.settle(&log).await);
    log.extend(again);
    log.extend(settled);
    log.sort_by_key(|event| event.at);
    log
}

/// One request, by its number.
async fn ask(scene: &Scene<'_>, till: &Till<'_>, n: u64) -> Event {
    let mut draw = Draw::of(scene.seed, "client", n);
    let (when, what) = (draw.millis(4000), draw.below(100));
    // Who throngs comes at the same moment as others.
    let when = match scene.thronged {
        Some(_) => Duration::from_millis(500 * u64::try_from(when.as_millis() / 500).unwrap_or(0)),
        None => when,
    };
    sleep(when).await;
    let id = format!("r-{n}");
    if what < 15 {
        till.buy(&mut draw, id).await
    } else if what < 20 {
        till.cancel(&mut draw, id).await
    } else {
        client_request::draw(scene, &mut draw, id).await
    }
}
