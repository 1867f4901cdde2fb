//! Records every connection failure and every call that reached a backend, with its time. Invariants compare responses
//! with this record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use services_mock::{Backend, CallEvent};
use tokio::time::Instant;

/// How a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionError {
    /// The server was stopped, or the seed refused the connection.
    Refused,
    /// The connection ended in the middle.
    Cut,
}

/// One connection that failed. Times are offsets from the fleet's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionFailure {
    pub(crate) at: Duration,
    /// The backend or gateway that the connection led to.
    pub(crate) instance: String,
    pub(crate) error: ConnectionError,
}

/// One call as its backend received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackendCall {
    pub(crate) backend: Backend,
    /// Method and path.
    pub(crate) line: String,
    pub(crate) at: Duration,
    /// The end of the call; `None` while it is in progress.
    pub(crate) ended_at: Option<Duration>,
    /// Its `X-Request-ID`.
    pub(crate) request_id: String,
    /// Its `X-User-ID`.
    pub(crate) user: Option<String>,
    /// The remaining time that the gateway sent.
    pub(crate) timeout: Option<Duration>,
}

impl BackendCall {
    /// Whether it carries no identity other than this caller's. Calls for public data must carry none.
    pub(crate) fn identifies_only(&self, caller: Option<&str>) -> bool {
        let public = [Backend::Product, Backend::Review, Backend::Inventory];
        let user = self.user.as_deref();
        user.is_none() || user == caller && !public.contains(&self.backend)
    }

    /// Whether it carries a timeout that does not exceed the time until `deadline`.
    pub(crate) fn times_out_by(&self, deadline: Duration) -> bool {
        let remaining = deadline
            .saturating_sub(self.at)
            .max(Duration::from_millis(1));
        self.timeout.is_some_and(|timeout| timeout <= remaining)
    }
}

/// Every failed connection and every received call. Clones share one record.
#[derive(Clone, Debug)]
pub(crate) struct TrafficRecord {
    started: Instant,
    failures: Arc<Mutex<Vec<ConnectionFailure>>>,
    calls: Arc<Mutex<BTreeMap<u64, BackendCall>>>,
}

impl TrafficRecord {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            failures: Arc::default(),
            calls: Arc::default(),
        }
    }

    /// The time since the fleet's start.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Records a failed connection to an instance, given by its name or address.
    pub(crate) fn record_failure(&self, instance: &str, error: ConnectionError) {
        let instance = instance.split('.').next().unwrap_or_default().to_owned();
        let at = self.now();
        let failure = ConnectionFailure {
            at,
            instance,
            error,
        };
        self.failures.lock().push(failure);
    }

    /// Records the start or the end of a call.
    pub(crate) fn record_event(&self, backend: Backend, call: u64, event: CallEvent<'_>) {
        let (mut calls, at) = (self.calls.lock(), self.now());
        match event {
            CallEvent::Arrived {
                method,
                path,
                headers,
            } => {
                let received = BackendCall {
                    backend,
                    line: format!("{method} {path}"),
                    at,
                    ended_at: None,
                    request_id: header_text(headers, "x-request-id").unwrap_or_default(),
                    user: header_text(headers, "x-user-id"),
                    timeout: parse_timeout(headers),
                };
                calls.insert(call, received);
            }
            CallEvent::Ended => {
                if let Some(call) = calls.get_mut(&call) {
                    call.ended_at = Some(at);
                }
            }
        }
    }

    /// The connection failures of an instance from `from` to `until`, both included.
    pub(crate) fn failures_between(
        &self,
        instance: &str,
        from: Duration,
        until: Duration,
    ) -> Vec<ConnectionError> {
        let failures = self.failures.lock();
        let failures = failures.iter().filter(|f| f.instance == instance);
        let failures = failures.filter(|f| (from..=until).contains(&f.at));
        failures.map(|f| f.error).collect()
    }

    /// Every call so far, in the order of arrival.
    pub(crate) fn calls(&self) -> Vec<BackendCall> {
        self.calls.lock().values().cloned().collect()
    }

    /// The calls with this request id.
    pub(crate) fn calls_of_request(&self, request_id: &str) -> Vec<BackendCall> {
        let calls = self.calls.lock();
        let calls = calls.values().filter(|c| c.request_id == request_id);
        calls.cloned().collect()
    }

    /// Whether any call satisfies `condition`.
    pub(crate) fn any_call(&self, condition: impl Fn(&BackendCall) -> bool) -> bool {
        self.calls.lock().values().any(condition)
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(value.to_str().unwrap_or("not text").to_owned())
}

/// The remaining time: `Request-Timeout` in milliseconds over HTTP, `grpc-timeout` over gRPC.
fn parse_timeout(headers: &HeaderMap) -> Option<Duration> {
    if let Some(millis) = header_text(headers, "request-timeout") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    let timeout = header_text(headers, "grpc-timeout")?;
    let (number, unit) = timeout.split_at(timeout.len().checked_sub(1)?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}
