//! Faults on demand: what may go wrong, who asked for it, and whether it strikes this call.

mod answer;
mod gzip_bomb;
mod text;

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::seeded_rng::SeededRng;

pub(crate) use answer::answer;

/// One standing fault of one backend, as `PUT /faults/{backend}` takes it.
///
/// `status` or `mode` alone strikes every call; `errorRate` alone fails with 500.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Only calls whose path is this or lies below it; absent: every call. The longest match wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// A delay before every call, as a number with a unit: "200ms".
    #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
    pub latency: Option<Duration>,
    /// The delay varies evenly by up to this much to either side.
    #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// The fault stands for this long, rests for as long, and so on.
    #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
    pub flap: Option<Duration>,
    /// The share of calls that fail, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// The HTTP status of a failing call (gRPC: its nearest code).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Another way to fail than a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Strike this many calls, then be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A way to fail that is not an honest status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Never answers.
    Hang,
    /// Drops the connection without an answer.
    Reset,
    /// Announces a length, sends half of it, closes.
    Truncate,
    /// 200 with broken JSON (gRPC: a message that does not decode).
    Malformed,
    /// 200 with a body that never ends.
    Endless,
    /// 200 with a small gzip body that expands to more than 100 MB.
    GzipBomb,
}

/// How one call is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Status(StatusCode),
    Mode(Mode),
}

/// What the standing faults do to one call.
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

    /// Fails every call in a mode.
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

    /// The same fault for one route and what lies below it.
    #[must_use]
    pub fn on(mut self, route: impl Into<String>) -> Self {
        self.route = Some(route.into());
        self
    }

    /// The same fault for a share of the calls, 0 to 1.
    #[must_use]
    pub fn rate(mut self, error_rate: f64) -> Self {
        self.error_rate = Some(error_rate);
        self
    }

    /// The same fault for the next `calls` calls only.
    #[must_use]
    pub fn times(mut self, calls: u64) -> Self {
        self.next = Some(calls);
        self
    }

    /// Says in one sentence what is wrong with a fault, if anything is.
    pub fn check(&self) -> Result<(), String> {
        if self
            .error_rate
            .is_some_and(|rate| !(0.0..=1.0).contains(&rate))
        {
            return Err("errorRate lies between 0 and 1".to_owned());
        }
        if self.status.is_some() && self.mode.is_some() {
            return Err("either status or mode, not both".to_owned());
        }
        if self
            .status
            .is_some_and(|status| !(300..=599).contains(&status))
        {
            return Err("status lies between 300 and 599".to_owned());
        }
        if self
            .route
            .as_ref()
            .is_some_and(|route| !route.starts_with('/'))
        {
            return Err("route starts with a slash".to_owned());
        }
        if self.flap == Some(Duration::ZERO) {
            return Err("flap is longer than nothing".to_owned());
        }
        if self.next == Some(0) {
            return Err("next is at least 1".to_owned());
        }
        if self.failure().is_none() && self.latency.is_none() && self.jitter.is_none() {
            return Err("nothing to do: latency, jitter, errorRate, status or mode".to_owned());
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

    fn covers(&self, path: &str) -> bool {
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

/// The faults that stand at one backend, at most one for each route.
#[derive(Debug, Default)]
pub(crate) struct ActiveFaults(Vec<Stands>);

#[derive(Debug)]
struct Stands {
    fault: Fault,
    since: Instant,
    calls: u64,
}

impl ActiveFaults {
    /// Puts a fault in the place of the one with the same route.
    pub(crate) fn set(&mut self, fault: Fault) {
        self.0.retain(|s| s.fault.route != fault.route);
        self.0.push(Stands {
            fault,
            since: Instant::now(),
            calls: 0,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What stands, with `next` counted down to what is left of it.
    pub(crate) fn list(&self) -> Vec<Fault> {
        self.0.iter().map(|s| s.fault.clone()).collect()
    }

    /// What happens to a call of `path`; counts `next` down when the fault strikes.
    pub(crate) fn apply(&mut self, draw: SeededRng, backend: &str, path: &str) -> InjectedFault {
        let covering = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, s)| s.fault.covers(path));
        let Some(at) = covering
            .max_by_key(|(_, s)| s.fault.route_len())
            .map(|(i, _)| i)
        else {
            return InjectedFault::default();
        };
        let blow = self.0[at].strike(draw, backend);
        if self.0[at].fault.next == Some(0) {
            self.0.remove(at);
        }
        blow
    }
}

impl Stands {
    fn strike(&mut self, draw: SeededRng, backend: &str) -> InjectedFault {
        let fault = &mut self.fault;
        if let Some(period) = fault.flap {
            let periods = self.since.elapsed().as_nanos() / period.as_nanos().max(1);
            if periods % 2 == 1 {
                return InjectedFault::default();
            }
        }
        self.calls += 1;
        let route = fault.route.as_deref().unwrap_or("/");
        let luck = |what: &str| draw.unit(&format!("{backend} {route} {what}"), self.calls);
        let rate = fault.error_rate.unwrap_or(1.0);
        let failure = fault.failure().filter(|_| luck("error") < rate);
        let delay = delay(fault.latency, fault.jitter, || luck("jitter"));
        if failure.is_some() || fault.failure().is_none() {
            fault.next = fault.next.map(|left| left.saturating_sub(1));
        }
        InjectedFault { delay, failure }
    }
}

fn delay(latency: Option<Duration>, jitter: Option<Duration>, luck: impl Fn() -> f64) -> Duration {
    let base = latency.unwrap_or_default();
    let Some(jitter) = jitter else { return base };
    let spread = jitter.mul_f64(2.0 * luck());
    (base + spread).saturating_sub(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAW: SeededRng = SeededRng(1);

    fn fault(json: &str) -> Result<Fault, String> {
        let fault: Fault = serde_json::from_str(json).map_err(|e| e.to_string())?;
        fault.check().map(|()| fault)
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for bad in [
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
            assert!(fault(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_longest_matching_route_wins_and_next_is_counted_down() {
        let mut standing = ActiveFaults::default();
        standing.set(Fault::status(500));
        standing.set(Fault::status(503).on("/products/p-1").times(1));
        let hit = |standing: &mut ActiveFaults, path| standing.apply(DRAW, "product", path).failure;
        assert_eq!(
            hit(&mut standing, "/products/p-10"),
            Some(Failure::Status(StatusCode::INTERNAL_SERVER_ERROR))
        );
        assert_eq!(
            hit(&mut standing, "/products/p-1"),
            Some(Failure::Status(StatusCode::SERVICE_UNAVAILABLE))
        );
        assert_eq!(
            hit(&mut standing, "/products/p-1"),
            Some(Failure::Status(StatusCode::INTERNAL_SERVER_ERROR))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn flapping_turns_it_off_and_on_again() {
        let mut standing = ActiveFaults::default();
        standing.set(fault(r#"{"status":503,"flap":"2s"}"#).unwrap());
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(standing.apply(DRAW, "review", "/reviews").failure.is_some());
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        assert_eq!(seen, [true, false, true, false]);
    }

    #[tokio::test]
    async fn the_error_rate_is_kept_and_replays() {
        let run = || {
            let mut standing = ActiveFaults::default();
            standing.set(fault(r#"{"errorRate":0.3}"#).unwrap());
            let calls =
                (0..1000).map(|_| standing.apply(DRAW, "review", "/reviews").failure.is_some());
            calls.collect::<Vec<_>>()
        };
        let failed = run().into_iter().filter(|failed| *failed).count();
        assert!((250..350).contains(&failed), "{failed}");
        assert_eq!(run(), run());
    }

    #[tokio::test]
    async fn jitter_stays_within_its_bounds() {
        let mut standing = ActiveFaults::default();
        standing.set(fault(r#"{"latency":"200ms","jitter":"50ms"}"#).unwrap());
        for _ in 0..100 {
            let delay = standing.apply(DRAW, "review", "/reviews").delay.as_millis();
            assert!((150..=250).contains(&delay), "{delay}");
        }
    }
}
