//! A backend of this process that fails, dawdles and dies on demand, and counts what reaches it.

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

use crate::backends::{self, AVAILABILITY, Answers, PRODUCT, REVIEWS};
use crate::{Result, subprocess};

/// One instance. Dropped, it is gone.
pub(super) struct Backend {
    pub(super) at: SocketAddr,
    state: Arc<State>,
    _serving: DropGuard,
}

struct State {
    answers: Answers,
    /// How many calls in a hundred are answered 503.
    failing: AtomicU64,
    /// How long an answer takes, in milliseconds.
    slow: AtomicU64,
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    /// Cancelled when it dies: connections are reset, and new ones too.
    dead: CancellationToken,
    /// Connections that were tried since, and when the last was.
    tried: Mutex<(usize, Option<Instant>)>,
}

/// Counts a call out, whether it was answered or its caller left.
struct Leaving(Arc<State>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Backend {
    /// One that is well, and answers as product, review, inventory or issuer alike.
    pub(super) async fn start(jwks: &str) -> Result<Self> {
        let listener = subprocess::bind().await?;
        let fixed = |body: &'static str| Bytes::from_static(body.as_bytes());
        let answers = [
            ("/products/", fixed(PRODUCT)),
            ("/reviews", fixed(REVIEWS)),
            ("/availability/", fixed(AVAILABILITY)),
            ("/jwks", Bytes::from(jwks.to_owned())),
        ];
        let state = Arc::new(State {
            answers: Arc::new(answers.into()),
            failing: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            calls: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            dead: CancellationToken::new(),
            tried: Mutex::default(),
        });
        let (at, gone) = (listener.local_addr()?, CancellationToken::new());
        tokio::spawn(gone.clone().run_until_cancelled_owned(accept(
            listener,
            state.clone(),
            gone.clone(),
        )));
        Ok(Self {
            at,
            state,
            _serving: gone.drop_guard(),
        })
    }

    /// From now on so many calls in a hundred are answered 503.
    pub(super) fn fails(&self, percent: u64) {
        self.state.failing.store(percent, Ordering::Relaxed);
    }

    /// From now on an answer takes so long.
    pub(super) fn takes(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.state.slow.store(millis, Ordering::Relaxed);
    }

    /// Every connection is reset, and every new one.
    pub(super) fn die(&self) {
        self.state.dead.cancel();
    }

    pub(super) fn calls(&self) -> usize {
        self.state.calls.load(Ordering::Relaxed)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::Relaxed)
    }

    /// Connections tried since it died, and when the last was.
    pub(super) fn tried(&self) -> (usize, Option<Instant>) {
        *self.state.tried.lock()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, gone: CancellationToken) {
    while let Ok((stream, _)) = listener.accept().await {
        if state.dead.is_cancelled() {
            let mut tried = state.tried.lock();
            *tried = (tried.0 + 1, Some(Instant::now()));
            stream.set_zero_linger().ok();
            continue;
        }
        stream.set_nodelay(true).ok();
        let (mine, dead) = (state.clone(), state.dead.clone());
        let service = service_fn(move |request| {
            let state = mine.clone();
            async move { Ok::<_, Infallible>(answer(&state, &request).await) }
        });
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let serving = gone.clone().run_until_cancelled_owned(serving);
        tokio::spawn(dead.run_until_cancelled_owned(serving));
    }
}

async fn answer(state: &Arc<State>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() == "/jwks" {
        return backends::answer(request, &state.answers);
    }
    let n = state.calls.fetch_add(1, Ordering::Relaxed) as u64;
    state.in_flight.fetch_add(1, Ordering::Relaxed);
    let _leaving = Leaving(state.clone());
    let slow = state.slow.load(Ordering::Relaxed);
    if slow > 0 {
        sleep(Duration::from_millis(slow)).await;
    }
    let mut response = backends::answer(request, &state.answers);
    // Spread over all calls, the same in every run (a multiplicative hash).
    let drawn = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    if drawn % 100 < state.failing.load(Ordering::Relaxed) {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
