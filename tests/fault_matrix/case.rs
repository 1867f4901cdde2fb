//! One case: a fleet that has just started, some backends struck, one request, and what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use fleet::{Callers, Gateway};
use services_mock::{Backend, Fault, Mode};
use tokio::time::{Instant, sleep};

use crate::screens::{Enrolled, Told, enrolled};
use crate::sim_fleet::{Called, Plan, SimFleet, address, simulated};
use crate::support::never_opens;

/// Late, and well within an attempt of any gateway.
const SLOW: Duration = Duration::from_millis(300);
/// How soon after an answer the calls it did not wait for are gone.
const CANCELLED_WITHIN: Duration = Duration::from_millis(50);
/// Nothing that a gateway remembers of a request, tokens and keys apart, does it remember for longer.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(90);
/// For so many visits to one fleet a token is good.
const TOKEN_LASTS: usize = 8;

/// A way in which a backend is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Blow {
    /// It answers 500.
    Error,
    /// It never answers.
    Timeout,
    /// It answers late, and in time.
    Slow,
    /// It drops the connection.
    Reset,
    /// Its answer does not decode.
    Malformed,
}

/// Which backends are struck, and how.
pub(crate) type Assignment = BTreeMap<Backend, Blow>;

/// A screen, who asks for it, and what it is while nothing is broken.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) screen: &'static Enrolled,
    pub(crate) user: Option<&'static str>,
    /// Whether the signed in see sections that others do not.
    pub(crate) personal: bool,
    pub(crate) told: Told,
    /// How often each backend is called for it; the issuer, whose keys are fetched once, is not among them.
    pub(crate) calls: BTreeMap<Backend, u64>,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) told: Told,
    pub(crate) took: Duration,
    pub(crate) calls: BTreeMap<Backend, u64>,
    /// What each of those said, and when the request began: times since the town did.
    pub(crate) heard: Vec<Called>,
    pub(crate) began: Duration,
    /// Backends that still had a call when nobody waited any more.
    pub(crate) orphans: Vec<Backend>,
}

impl Blow {
    pub(crate) const ALL: [Self; 5] = [
        Self::Error,
        Self::Timeout,
        Self::Slow,
        Self::Reset,
        Self::Malformed,
    ];

    fn fault(self) -> Fault {
        match self {
            Self::Error => Fault::status(500),
            Self::Timeout => Fault::mode(Mode::Hang),
            Self::Slow => Fault::latency(SLOW),
            Self::Reset => Fault::mode(Mode::Reset),
            Self::Malformed => Fault::mode(Mode::Malformed),
        }
    }

    /// What may truly be said of a call that met it; nothing where nothing is lost.
    pub(crate) fn reasons(self) -> &'static [&'static str] {
        match self {
            Self::Error | Self::Malformed => &["bad_response"],
            Self::Timeout => &["timeout", "deadline"],
            Self::Slow => &[],
            Self::Reset => &["unavailable"],
        }
    }

    /// What a backend does that is struck so.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Error => "answers 500",
            Self::Timeout => "never answers",
            Self::Slow => "answers after 300 ms",
            Self::Reset => "drops the connection",
            Self::Malformed => "answers what does not decode",
        }
    }

    /// Whether it shows at once.
    pub(crate) fn is_quick(self) -> bool {
        matches!(self, Self::Error | Self::Reset | Self::Malformed)
    }
}

impl Visit {
    /// The same visit while some backends are not well.
    pub(crate) fn under(&self, assignment: &Assignment) -> Outcome {
        pay(self.screen, self.user, assignment)
    }

    /// Many such visits to one fleet, which is cheaper than a fleet for each. Its breakers never open, and after each
    /// visit it is left alone until its budgets, connections and measurements are as they were.
    pub(crate) fn under_each<'a>(
        &self,
        assignments: &[&'a Assignment],
    ) -> Vec<(&'a Assignment, Outcome)> {
        simulated(async {
            let town = town(self.screen, never_opens);
            let mut outcomes = Vec::new();
            for batch in assignments.chunks(TOKEN_LASTS) {
                let credential = self.screen.credential(&town.mocks, self.user);
                for &assignment in batch {
                    let outcome = ask(&town, self.screen, credential.as_ref(), assignment).await;
                    outcomes.push((assignment, outcome));
                    town.mocks.clear_faults(None);
                    sleep(FORGOTTEN_WITHIN).await;
                    town.mocks.clear_stats();
                }
            }
            outcomes
        })
    }
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Enrolled {
            gateway, operation, ..
        } = self.screen;
        let user = self.user.unwrap_or("nobody");
        write!(f, "{gateway} {operation} for {user}")
    }
}

/// Every screen as each kind of asker sees it: signed in, and as nobody where nobody sees something else.
pub(crate) fn visits() -> &'static [Visit] {
    static ALL: LazyLock<Vec<Visit>> =
        LazyLock::new(|| enrolled().iter().flat_map(askers).collect());
    &ALL
}

fn askers(screen: &'static Enrolled) -> Vec<Visit> {
    let visit = |user| {
        let Outcome { told, calls, .. } = pay(screen, user, &Assignment::new());
        Visit {
            screen,
            user,
            personal: false,
            told,
            calls,
        }
    };
    if screen.callers() == Callers::Partners {
        return vec![visit(None)];
    }
    let (mut ada, nobody) = (visit(Some("ada")), visit(None));
    ada.calls.remove(&Backend::Auth);
    ada.personal = !ada.told.sections.keys().eq(nobody.told.sections.keys());
    if ada.personal {
        let nobody = Visit {
            personal: true,
            ..nobody
        };
        vec![ada, nobody]
    } else {
        vec![ada]
    }
}

/// One visit to a fleet that has just started, as it is shipped.
fn pay(screen: &'static Enrolled, user: Option<&str>, assignment: &Assignment) -> Outcome {
    simulated(async {
        let town = town(screen, |_| String::new());
        let credential = screen.credential(&town.mocks, user);
        ask(&town, screen, credential.as_ref(), assignment).await
    })
}

fn town(screen: &Enrolled, also: fn(&Gateway) -> String) -> SimFleet {
    SimFleet::start(Plan {
        seed: 1,
        only: Some(screen.gateway),
        frail: false,
        also,
    })
}

async fn ask(
    town: &SimFleet,
    screen: &Enrolled,
    credential: Option<&(&str, String)>,
    assignment: &Assignment,
) -> Outcome {
    for (backend, blow) in assignment {
        town.mocks.set_fault(*backend, blow.fault()).unwrap();
    }
    let url = format!("http://{}", address(screen.gateway));
    let request = screen.request(&url, credential);
    let (asked, began) = (Instant::now(), town.record.now());
    let (head, body) = town
        .ask(screen.gateway, request)
        .await
        .unwrap()
        .into_parts();
    let took = asked.elapsed();
    sleep(CANCELLED_WITHIN).await;
    let stats = Backend::ALL.map(|b| (b, town.mocks.stats(b)));
    let called = stats.iter().filter(|(_, s)| s.calls > 0);
    let waiting = stats.iter().filter(|(_, s)| s.in_flight > 0);
    let calls = town.record.calls();
    Outcome {
        heard: calls.into_iter().filter(|c| c.at >= began).collect(),
        began,
        told: screen.told(head.status.as_u16(), head.headers, &body),
        took,
        calls: called.map(|(b, s)| (*b, s.calls)).collect(),
        orphans: waiting.map(|(b, _)| *b).collect(),
    }
}
