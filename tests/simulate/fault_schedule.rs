//! What befalls a town: faults that come and go, places that go away and come back.

use std::time::Duration;

use services_mock::{Backend, Fault};
use tokio::time::{Instant, sleep_until};

use crate::sim_fleet::{Draw, SimFleet};

/// One mishap at one place.
#[derive(Clone, Debug)]
pub(super) struct Strike {
    /// A backend or a gateway.
    pub(super) place: &'static str,
    pub(super) from: Duration,
    pub(super) until: Duration,
    /// What is asked of the backend; nothing when the place goes away.
    pub(super) fault: Option<Fault>,
}

impl Strike {
    /// Whether it lasted at some time between the two.
    pub(super) fn overlaps(&self, from: Duration, until: Duration) -> bool {
        self.from <= until && from <= self.until
    }
}

/// Everything that is to happen under a seed.
pub(super) fn draw(seed: u64) -> Vec<Strike> {
    let mut strikes = Vec::new();
    // The issuer's connections break as others do; a fault of its own would only keep everybody out.
    let backends = Backend::ALL.into_iter().filter(|b| *b != Backend::Auth);
    for place in backends.map(Backend::name) {
        let mut draw = Draw::of(seed, place, 0);
        let mut from = draw.millis(3000);
        while draw.chance(40) {
            let until = from + Duration::from_millis(200) + draw.millis(2000);
            strikes.push(Strike {
                place,
                from,
                until,
                fault: Some(draw.fault()),
            });
            from = until + Duration::from_millis(1) + draw.millis(500);
        }
    }
    let gateways = fleet::GATEWAYS.iter().map(|g| g.name);
    for place in Backend::ALL.map(Backend::name).into_iter().chain(gateways) {
        let mut draw = Draw::of(seed, place, 1);
        if draw.chance(8) {
            let from = draw.millis(3000);
            let until = from + Duration::from_millis(50) + draw.millis(600);
            strikes.push(Strike {
                place,
                from,
                until,
                fault: None,
            });
        }
    }
    strikes
}

/// Lets it happen.
pub(super) async fn happen(town: &SimFleet, strikes: &[Strike], begun: Instant) {
    let each = strikes.iter().map(|strike| async move {
        let struck = (strike.fault.as_ref()).and_then(|f| Some((strike.place.parse().ok()?, f)));
        sleep_until(begun + strike.from).await;
        match &struck {
            Some((backend, fault)) => town.mocks.set_fault(*backend, (*fault).clone()).unwrap(),
            None => town.stop(strike.place),
        }
        sleep_until(begun + strike.until).await;
        match &struck {
            Some((backend, _)) => town.mocks.clear_faults(Some(*backend)),
            None => town.start_instance(strike.place),
        }
    });
    futures_util::future::join_all(each).await;
}
