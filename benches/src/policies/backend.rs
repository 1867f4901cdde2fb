//! A backend in this process with failures, latency and death on demand. It counts its calls.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::backends::{self, AVAILABILITY, PRODUCT, REVIEWS, Responses};
use crate::{Result, subprocess};

/// One instance. Dropping it stops the server.
pub(super) struct Backend {
    pub(super) at: SocketAddr,
    state: Arc<State>,
    _serving: DropGuard,
}

struct State {
    responses: Responses,
    /// The percentage of calls that get a 503.
    failure_percent: AtomicU64,
    /// The latency of a response, in milliseconds.
    latency_ms: AtomicU64,
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    /// Cancelled when the instance dies. Then it resets all existing and new connections.
    dead: CancellationToken,
    /// The number of connection attempts since its death, and the time of the last.
    attempts: Mutex<(usize, Option<Instant>)>,
}

/// Decrements the calls in flight when dropped, after a response or a cancellation.
struct InFlightGuard(Arc<State>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Backend {
    /// Starts a healthy instance. It responds as product, review and inventory backend and as issuer.
    pub(super) async fn start(jwks: &str) -> Result<Self> {
        let listener = subprocess::bind().await?;
        let fixed = |body: &'static str| Bytes::from_static(body.as_bytes());
        let responses = [
            ("/products/", fixed(PRODUCT)),
            ("/reviews", fixed(REVIEWS)),
            ("/availability/", fixed(AVAILABILITY)),
            ("/jwks", Bytes::from(jwks.to_owned())),
        ];
        let state = Arc::new(State {
            responses: Arc::new(responses.into()),
            failure_percent: AtomicU64::new(0),
            latency_ms: AtomicU64::new(0),
            calls: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            dead: CancellationToken::new(),
            attempts: Mutex::default(),
        });
        let (at, stopped) = (listener.local_addr()?, CancellationToken::new());
        tokio::spawn(stopped.clone().run_until_cancelled_owned(accept(
            listener,
            state.clone(),
            stopped.clone(),
        )));
        Ok(Self {
            at,
            state,
            _serving: stopped.drop_guard(),
        })
    }

    /// Sets the percentage of calls that get a 503.
    pub(super) fn set_failure_percent(&self, percent: u64) {
        self.state.failure_percent.store(percent, Ordering::Relaxed);
    }

    /// Sets the latency of all responses.
    pub(super) fn set_latency(&self, latency: Duration) {
        let millis = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        self.state.latency_ms.store(millis, Ordering::Relaxed);
    }

    /// Resets all existing and new connections.
    pub(super) fn die(&self) {
        self.state.dead.cancel();
    }

    pub(super) fn calls(&self) -> usize {
        self.state.calls.load(Ordering::Relaxed)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::Relaxed)
    }

    /// The number of connection attempts since its death, and the time of the last.
    pub(super) fn attempts(&self) -> (usize, Option<Instant>) {
        *self.state.attempts.lock()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, stopped: CancellationToken) {
    while let Ok((stream, _)) = listener.accept().await {
        if state.dead.is_cancelled() {
            let mut attempts = state.attempts.lock();
            *attempts = (attempts.0 + 1, Some(Instant::now()));
            stream.set_zero_linger().ok();
            continue;
        }
        stream.set_nodelay(true).ok();
        let (service_state, dead) = (state.clone(), state.dead.clone());
        let service = service_fn(move |request| {
            let state = service_state.clone();
            async move { Ok::<_, Infallible>(respond(&state, &request).await) }
        });
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let serving = stopped.clone().run_until_cancelled_owned(serving);
        tokio::spawn(dead.run_until_cancelled_owned(serving));
    }
}

async fn respond(state: &Arc<State>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() == "/jwks" {
        return backends::response(request, &state.responses);
    }
    let n = state.calls.fetch_add(1, Ordering::Relaxed) as u64;
    state.in_flight.fetch_add(1, Ordering::Relaxed);
    let _guard = InFlightGuard(state.clone());
    let latency = state.latency_ms.load(Ordering::Relaxed);
    if latency > 0 {
        sleep(Duration::from_millis(latency)).await;
    }
    let mut response = backends::response(request, &state.responses);
    // Failures are distributed evenly and equally in every run (a multiplicative hash).
    let random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    if random % 100 < state.failure_percent.load(Ordering::Relaxed) {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
