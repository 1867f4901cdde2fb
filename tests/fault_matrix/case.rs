//! One case of the fault matrix: a fleet, faults at some backends, one request, and its outcome.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use fleet::{Callers, Gateway};
use parking_lot::Mutex;
use services_mock::{Backend, Fault, Mode};
use tokio::time::{Instant, sleep};

use crate::screens::{ScreenOperation, ScreenResponse, all_screens};
use crate::sim_fleet::{BackendCall, SimFleet, SimOptions, address, run_simulated};
use crate::support::disabled_breakers;

/// The latency of a slow backend, well below the attempt timeout of every gateway.
const SLOW: Duration = Duration::from_millis(300);
/// All other calls of a request must end this soon after its response.
const CANCELLATION_TIME: Duration = Duration::from_millis(50);
/// After this time, past requests no longer affect a gateway, except for its cached tokens and keys.
const REST_TIME: Duration = Duration::from_secs(90);
/// The number of cases that run before a token expires.
const CASES_PER_TOKEN: usize = 8;

/// A kind of backend fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    /// Responds 500.
    Error,
    /// Never responds.
    Timeout,
    /// Responds late, but before the timeout.
    Slow,
    /// Resets the connection.
    Reset,
    /// Responds with a body that cannot be decoded.
    Malformed,
}

/// The faulty backends, and their faults.
pub(crate) type Assignment = BTreeMap<Backend, FaultKind>;

/// A screen, its caller, and the response without faults.
#[derive(Clone, Debug)]
pub(crate) struct ScreenCase {
    pub(crate) screen: &'static ScreenOperation,
    pub(crate) user: Option<&'static str>,
    /// Whether signed-in callers get sections that anonymous callers do not get.
    pub(crate) personal: bool,
    pub(crate) baseline: ScreenResponse,
    /// The number of calls to each backend, without the one fetch of the issuer's keys.
    pub(crate) calls: BTreeMap<Backend, u64>,
}

/// The result of a case.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) response: ScreenResponse,
    pub(crate) elapsed: Duration,
    /// The number of calls to each backend.
    pub(crate) calls: BTreeMap<Backend, u64>,
    /// The calls as the backends received them.
    pub(crate) received: Vec<BackendCall>,
    /// The start of the request, as an offset from the fleet's start.
    pub(crate) started: Duration,
    /// Backends with a call that continued after the response.
    pub(crate) orphans: Vec<Backend>,
}

impl FaultKind {
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

    /// The correct reasons for a section that this fault removed; empty if it removes none.
    pub(crate) fn reasons(self) -> &'static [&'static str] {
        match self {
            Self::Error | Self::Malformed => &["bad_response"],
            Self::Timeout => &["timeout", "deadline"],
            Self::Slow => &[],
            Self::Reset => &["unavailable"],
        }
    }

    /// The fault as a verb phrase whose subject is the backend.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Error => "responds 500",
            Self::Timeout => "never responds",
            Self::Slow => "responds after 300 ms",
            Self::Reset => "resets the connection",
            Self::Malformed => "responds with an invalid body",
        }
    }

    /// Whether a call fails at once.
    pub(crate) fn is_immediate(self) -> bool {
        matches!(self, Self::Error | Self::Reset | Self::Malformed)
    }
}

impl ScreenCase {
    /// Runs the case under faults, with a new fleet. Equal cases have equal outcomes, so each runs once per process.
    pub(crate) fn run(&self, assignment: &Assignment) -> Outcome {
        static OUTCOMES: LazyLock<Mutex<BTreeMap<String, Arc<OnceLock<Outcome>>>>> =
            LazyLock::new(Mutex::default);
        let outcome = {
            let key = format!("{self} {assignment:?}");
            OUTCOMES.lock().entry(key).or_default().clone()
        };
        let run = || run_once(self.screen, self.user, assignment);
        outcome.get_or_init(run).clone()
    }

    /// Runs many cases with one fleet, which is cheaper than one fleet each. Its circuit breakers never open. After each
    /// case it rests until its retry budgets, connections and latency samples are as before.
    pub(crate) fn run_all<'a>(
        &self,
        assignments: &[&'a Assignment],
    ) -> Vec<(&'a Assignment, Outcome)> {
        run_simulated(async {
            let fleet = start_fleet(self.screen, disabled_breakers);
            let mut outcomes = Vec::new();
            for batch in assignments.chunks(CASES_PER_TOKEN) {
                let credential = self.screen.credential(&fleet.mocks, self.user);
                for &assignment in batch {
                    let outcome = send(&fleet, self.screen, credential.as_ref(), assignment).await;
                    outcomes.push((assignment, outcome));
                    fleet.mocks.clear_faults(None);
                    sleep(REST_TIME).await;
                    fleet.mocks.clear_stats();
                }
            }
            outcomes
        })
    }
}

impl fmt::Display for ScreenCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ScreenOperation {
            gateway, operation, ..
        } = self.screen;
        let user = self.user.unwrap_or("an anonymous caller");
        write!(f, "{gateway} {operation} for {user}")
    }
}

/// Every screen for each kind of caller: signed in, and anonymous where that gives other sections.
pub(crate) fn screen_cases() -> &'static [ScreenCase] {
    static ALL: LazyLock<Vec<ScreenCase>> =
        LazyLock::new(|| all_screens().iter().flat_map(cases_of).collect());
    &ALL
}

fn cases_of(screen: &'static ScreenOperation) -> Vec<ScreenCase> {
    let case = |user| {
        let Outcome {
            response, calls, ..
        } = run_once(screen, user, &Assignment::new());
        ScreenCase {
            screen,
            user,
            personal: false,
            baseline: response,
            calls,
        }
    };
    if screen.callers() == Callers::Partners {
        return vec![case(None)];
    }
    let (mut ada, anonymous) = (case(Some("ada")), case(None));
    ada.calls.remove(&Backend::Auth);
    let sections = ada.baseline.sections.keys();
    ada.personal = !sections.eq(anonymous.baseline.sections.keys());
    if ada.personal {
        let anonymous = ScreenCase {
            personal: true,
            ..anonymous
        };
        vec![ada, anonymous]
    } else {
        vec![ada]
    }
}

/// Runs one case with a new fleet and the shipped configuration.
fn run_once(
    screen: &'static ScreenOperation,
    user: Option<&str>,
    assignment: &Assignment,
) -> Outcome {
    run_simulated(async {
        let fleet = start_fleet(screen, |_| String::new());
        let credential = screen.credential(&fleet.mocks, user);
        send(&fleet, screen, credential.as_ref(), assignment).await
    })
}

fn start_fleet(screen: &ScreenOperation, extra_config: fn(&Gateway) -> String) -> SimFleet {
    SimFleet::start(SimOptions {
        seed: 1,
        only_gateway: Some(screen.gateway),
        network_faults: false,
        extra_config: Box::new(extra_config),
    })
}

async fn send(
    fleet: &SimFleet,
    screen: &ScreenOperation,
    credential: Option<&(&str, String)>,
    assignment: &Assignment,
) -> Outcome {
    for (backend, kind) in assignment {
        fleet.mocks.set_fault(*backend, kind.fault()).unwrap();
    }
    let url = format!("http://{}", address(screen.gateway));
    let request = screen.request(&url, credential);
    let (sent_at, started) = (Instant::now(), fleet.record.now());
    let (head, body) = fleet
        .send(screen.gateway, request)
        .await
        .unwrap()
        .into_parts();
    let elapsed = sent_at.elapsed();
    sleep(CANCELLATION_TIME).await;
    let stats = Backend::ALL.map(|b| (b, fleet.mocks.stats(b)));
    let called = stats.iter().filter(|(_, s)| s.calls > 0);
    let orphans = stats.iter().filter(|(_, s)| s.in_flight > 0);
    let calls = fleet.record.calls();
    Outcome {
        received: (calls.into_iter()).filter(|c| c.at >= started).collect(),
        started,
        response: screen.parse_response(head.status.as_u16(), head.headers, &body),
        elapsed,
        calls: called.map(|(b, s)| (*b, s.calls)).collect(),
        orphans: orphans.map(|(b, _)| *b).collect(),
    }
}
