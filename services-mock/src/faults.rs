//! Fault injection: the faults of a backend, and their effect on a call.

mod duration_text;
mod gzip_bomb;
mod response;

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::seeded_rng::SeededRng;

pub(crate) use response::response;

/// One fault of a backend, in the format of `PUT /faults/{backend}`.
///
/// `status` or `mode` without `errorRate` affects every call. `errorRate` alone fails with 500.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// The path to which the fault applies, with all paths below it. Default: every path. The longest match wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// A delay before every response, with a unit: "200ms".
    #[serde(
        default,
        with = "duration_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub latency: Option<Duration>,
    /// The delay is evenly distributed in `latency` ± `jitter`.
    #[serde(
        default,
        with = "duration_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub jitter: Option<Duration>,
    /// The fault is on for this period, then off for the same period, and so on.
    #[serde(
        default,
        with = "duration_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub flap: Option<Duration>,
    /// The fraction of calls that fail, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// The HTTP status of a failed call. gRPC uses the nearest code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// A failure other than a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The number of calls to affect. Then the fault is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A failure other than an error status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Sends no response.
    Hang,
    /// Resets the connection without a response.
    Reset,
    /// Sends half of the announced `Content-Length`, then closes the connection.
    Truncate,
    /// Sends 200 with invalid JSON (gRPC: a message that does not decode).
    Malformed,
    /// Sends 200 with an endless body.
    Endless,
    /// Sends 200 with a small gzip body that expands to more than 100 MB.
    GzipBomb,
}

/// The failure of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Status(StatusCode),
    Mode(Mode),
}

/// The effect of the active faults on one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InjectedFault {
    pub(crate) delay: Duration,
    pub(crate) failure: Option<Failure>,
}

impl Fault {
    /// Fails every call with a status.
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// Fails every call with `mode`.
    pub fn mode(mode: Mode) -> Self {
        Self {
            mode: Some(mode),
            ..Self::default()
        }
    }

    /// Delays every call.
    pub fn latency(latency: Duration) -> Self {
        Self {
            latency: Some(latency),
            ..Self::default()
        }
    }

    /// Limits the fault to one path and the paths below it.
    #[must_use]
    pub fn on(mut self, route: impl Into<String>) -> Self {
        self.route = Some(route.into());
        self
    }

    /// Limits the fault to a fraction of the calls, 0 to 1.
    #[must_use]
    pub fn rate(mut self, error_rate: f64) -> Self {
        self.error_rate = Some(error_rate);
        self
    }

    /// Limits the fault to the next `calls` calls.
    #[must_use]
    pub fn times(mut self, calls: u64) -> Self {
        self.next = Some(calls);
        self
    }

    /// Validates the fault. The error is one sentence.
    pub fn check(&self) -> Result<(), String> {
        if self
            .error_rate
            .is_some_and(|rate| !(0.0..=1.0).contains(&rate))
        {
            return Err("errorRate must be between 0 and 1".to_owned());
        }
        if self.status.is_some() && self.mode.is_some() {
            return Err("status and mode cannot be combined".to_owned());
        }
        if self
            .status
            .is_some_and(|status| !(300..=599).contains(&status))
        {
            return Err("status must be between 300 and 599".to_owned());
        }
        if self
            .route
            .as_ref()
            .is_some_and(|route| !route.starts_with('/'))
        {
            return Err("route must start with a slash".to_owned());
        }
        if self.flap == Some(Duration::ZERO) {
            return Err("flap must be greater than zero".to_owned());
        }
        if self.next == Some(0) {
            return Err("next must be at least 1".to_owned());
        }
        if self.failure().is_none() && self.latency.is_none() && self.jitter.is_none() {
            return Err(
                "one of latency, jitter, errorRate, status and mode is required".to_owned(),
            );
        }
        Ok(())
    }

    fn failure(&self) -> Option<Failure> {
        let status = |code| StatusCode::from_u16(code).ok().map(Failure::Status);
        match (self.mode, self.status, self.error_rate) {
            (Some(mode), _, _) => Some(Failure::Mode(mode)),
            (None, Some(code), _) => status(code),
            (None, None, Some(_)) => status(500),
            (None, None, None) => None,
        }
    }

    fn matches_path(&self, path: &str) -> bool {
        let Some(route) = self.route.as_deref() else {
            return true;
        };
        path.strip_prefix(route)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || route.ends_with('/'))
    }

    fn route_len(&self) -> usize {
        self.route.as_ref().map_or(0, String::len)
    }
}

/// The active faults of one backend, at most one for each route.
#[derive(Debug, Default)]
pub(crate) struct ActiveFaults(Vec<ActiveFault>);

#[derive(Debug)]
struct ActiveFault {
    fault: Fault,
    since: Instant,
    calls: u64,
}

impl ActiveFaults {
    /// Adds a fault. It replaces the fault with the same route.
    pub(crate) fn set(&mut self, fault: Fault) {
        self.0.retain(|s| s.fault.route != fault.route);
        self.0.push(ActiveFault {
            fault,
            since: Instant::now(),
            calls: 0,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The active faults. `next` is the number of calls left.
    pub(crate) fn list(&self) -> Vec<Fault> {
        self.0.iter().map(|s| s.fault.clone()).collect()
    }

    /// The effect on a call to `path`. Counts `next` down if the fault affects the call.
    pub(crate) fn apply(&mut self, rng: SeededRng, backend: &str, path: &str) -> InjectedFault {
        let matching = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, s)| s.fault.matches_path(path));
        let Some(index) = matching
            .max_by_key(|(_, s)| s.fault.route_len())
            .map(|(i, _)| i)
        else {
            return InjectedFault::default();
        };
        let injected = self.0[index].apply(rng, backend);
        if self.0[index].fault.next == Some(0) {
            self.0.remove(index);
        }
        injected
    }
}

impl ActiveFault {
    fn apply(&mut self, rng: SeededRng, backend: &str) -> InjectedFault {
        let fault = &mut self.fault;
        if let Some(period) = fault.flap {
            let periods = self.since.elapsed().as_nanos() / period.as_nanos().max(1);
            if periods % 2 == 1 {
                return InjectedFault::default();
            }
        }
        self.calls += 1;
        let route = fault.route.as_deref().unwrap_or("/");
        let draw = |name: &str| rng.unit(&format!("{backend} {route} {name}"), self.calls);
        let rate = fault.error_rate.unwrap_or(1.0);
        let failure = fault.failure().filter(|_| draw("error") < rate);
        let delay = delay(fault.latency, fault.jitter, || draw("jitter"));
        if failure.is_some() || fault.failure().is_none() {
            fault.next = fault.next.map(|left| left.saturating_sub(1));
        }
        InjectedFault { delay, failure }
    }
}

fn delay(latency: Option<Duration>, jitter: Option<Duration>, draw: impl Fn() -> f64) -> Duration {
    let base = latency.unwrap_or_default();
    let Some(jitter) = jitter else { return base };
    let spread = jitter.mul_f64(2.0 * draw());
    (base + spread).saturating_sub(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RNG: SeededRng = SeededRng(1);

    fn fault(json: &str) -> Result<Fault, String> {
        let fault: Fault = serde_json::from_str(json).map_err(|e| e.to_string())?;
        fault.check().map(|()| fault)
    }

    #[test]
    fn invalid_faults_are_rejected() {
        for invalid in [
            r#"{"latencyMs":200}"#,
            r#"{"latency":200}"#,
            r#"{"latency":"200"}"#,
            r#"{"latency":"fast"}"#,
            r#"{"errorRate":1.5}"#,
            r#"{"status":503,"mode":"hang"}"#,
            r#"{"status":99}"#,
            r#"{"mode":"explode"}"#,
            r#"{"status":503,"next":0}"#,
            r#"{"status":503,"route":"reviews"}"#,
            "{}",
        ] {
            assert!(fault(invalid).is_err(), "{invalid}");
        }
    }

    #[tokio::test]
    async fn the_longest_matching_route_wins_and_next_is_counted_down() {
        let mut faults = ActiveFaults::default();
        faults.set(Fault::status(500));
        faults.set(Fault::status(503).on("/products/p-1").times(1));
        let failure = |faults: &mut ActiveFaults, path| faults.apply(RNG, "product", path).failure;
        assert_eq!(
            failure(&mut faults, "/products/p-10"),
            Some(Failure::Status(StatusCode::INTERNAL_SERVER_ERROR))
        );
        assert_eq!(
            failure(&mut faults, "/products/p-1"),
            Some(Failure::Status(StatusCode::SERVICE_UNAVAILABLE))
        );
        assert_eq!(
            failure(&mut faults, "/products/p-1"),
            Some(Failure::Status(StatusCode::INTERNAL_SERVER_ERROR))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_flapping_fault_is_on_and_off_in_turn() {
        let mut faults = ActiveFaults::default();
        faults.set(fault(r#"{"status":503,"flap":"2s"}"#).unwrap());
        let mut failed = Vec::new();
        for _ in 0..4 {
            failed.push(faults.apply(RNG, "review", "/reviews").failure.is_some());
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        assert_eq!(failed, [true, false, true, false]);
    }

    #[tokio::test]
    async fn the_error_rate_is_accurate_and_reproducible() {
        let run = || {
            let mut faults = ActiveFaults::default();
            faults.set(fault(r#"{"errorRate":0.3}"#).unwrap());
            let calls =
                (0..1000).map(|_| faults.apply(RNG, "review", "/reviews").failure.is_some());
            calls.collect::<Vec<_>>()
        };
        let failed = run().into_iter().filter(|failed| *failed).count();
        assert!((250..350).contains(&failed), "{failed}");
        assert_eq!(run(), run());
    }

    #[tokio::test]
    async fn jitter_is_bounded() {
        let mut faults = ActiveFaults::default();
        faults.set(fault(r#"{"latency":"200ms","jitter":"50ms"}"#).unwrap());
        for _ in 0..100 {
            let delay = faults.apply(RNG, "review", "/reviews").delay.as_millis();
            assert!((150..=250).contains(&delay), "{delay}");
        }
    }
}
