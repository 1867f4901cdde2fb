//! The faults of a schedule: backend faults that start and end, and instances that stop and restart.

use std::time::Duration;

use services_mock::{Backend, Fault};
use tokio::time::{Instant, sleep_until};

use crate::sim_fleet::{SeededRng, SimFleet};

/// One fault of one instance. Times are offsets from the schedule's start.
#[derive(Clone, Debug)]
pub(super) struct ScheduledFault {
    /// The name of a backend or a gateway.
    pub(super) instance: &'static str,
    pub(super) from: Duration,
    pub(super) until: Duration,
    /// The backend's fault; `None` stops the instance and restarts it at the end.
    pub(super) fault: Option<Fault>,
}

impl ScheduledFault {
    /// Whether the fault is active at some time from `from` to `until`.
    pub(super) fn overlaps(&self, from: Duration, until: Duration) -> bool {
        self.from <= until && from <= self.until
    }
}

/// Draws every fault of a seed.
pub(super) fn draw(seed: u64) -> Vec<ScheduledFault> {
    let mut faults = Vec::new();
    // The issuer has network faults only: a backend fault would just reject every sign-in.
    let backends = Backend::ALL.into_iter().filter(|b| *b != Backend::Auth);
    for instance in backends.map(Backend::name) {
        let mut rng = SeededRng::new(seed, instance, 0);
        let mut from = rng.up_to_millis(3000);
        while rng.chance(40) {
            let until = from + Duration::from_millis(200) + rng.up_to_millis(2000);
            faults.push(ScheduledFault {
                instance,
                from,
                until,
                fault: Some(rng.fault()),
            });
            from = until + Duration::from_millis(1) + rng.up_to_millis(500);
        }
    }
    let gateways = fleet::GATEWAYS.iter().map(|g| g.name);
    for instance in Backend::ALL.map(Backend::name).into_iter().chain(gateways) {
        let mut rng = SeededRng::new(seed, instance, 1);
        if rng.chance(8) {
            let from = rng.up_to_millis(3000);
            let until = from + Duration::from_millis(50) + rng.up_to_millis(600);
            faults.push(ScheduledFault {
                instance,
                from,
                until,
                fault: None,
            });
        }
    }
    faults
}

/// Starts and ends every fault at its time.
pub(super) async fn apply(fleet: &SimFleet, faults: &[ScheduledFault], started: Instant) {
    let each = faults.iter().map(|scheduled| async move {
        let backend_fault = (scheduled.fault.as_ref())
            .and_then(|fault| Some((scheduled.instance.parse().ok()?, fault)));
        sleep_until(started + scheduled.from).await;
        match &backend_fault {
            Some((backend, fault)) => fleet.mocks.set_fault(*backend, (*fault).clone()).unwrap(),
            None => fleet.stop(scheduled.instance),
        }
        sleep_until(started + scheduled.until).await;
        match &backend_fault {
            Some((backend, _)) => fleet.mocks.clear_faults(Some(*backend)),
            None => fleet.start_instance(scheduled.instance),
        }
    });
    futures_util::future::join_all(each).await;
}
