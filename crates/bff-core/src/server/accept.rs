//! The accept loop of one port. Each connection has its own task, until the port closes.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::FutureExt;
use http::{HeaderValue, Request, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::config::Limits;
use super::header_timeout::{HeaderTracker, TimedIo};
use super::request_body::BodyArrival;
use crate::inbound::Peer;
use crate::net::{Connection, Listener, WorkerThreads};

/// The accept loop of a port.
pub(super) struct AcceptLoop<'a> {
    pub(super) router: Router,
    pub(super) limits: Limits,
    /// When cancelled, clients are asked to leave their connections. The loop still accepts connections and requests.
    pub(super) draining: CancellationToken,
    /// When cancelled, the loop accepts no connections or requests. Requests in progress can end.
    pub(super) closing: CancellationToken,
    /// Time for requests in progress after `closing`. The loop aborts the rest.
    pub(super) grace: Duration,
    /// The threads that serve the connections.
    pub(super) threads: &'a WorkerThreads,
}

impl AcceptLoop<'_> {
    /// Serves until the port has closed and every connection has ended. Returns the end of the grace time.
    pub(super) async fn serve(self, mut listener: Listener) -> Instant {
        let permits = Arc::new(Semaphore::new(self.limits.max_connections));
        let http = Arc::new(http());
        // Dropping the set aborts its tasks.
        let mut connections = JoinSet::new();
        loop {
            // The permit comes first: without one, connections stay in the kernel's queue.
            let next = async {
                let permit = permits.clone().acquire_owned().await.ok()?;
                Some((listener.next().await?, permit))
            };
            let next = tokio::select! {
                biased;
                () = self.closing.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                next = next => next,
            };
            let Some((io, permit)) = next else { break };
            self.spawn(&mut connections, &http, io, permit);
        }
        // The kernel has accepted these connections already, and would reset them with the listener.
        while let Ok(permit) = permits.clone().try_acquire_owned()
            && let Some(Some(io)) = listener.next().now_or_never()
        {
            self.spawn(&mut connections, &http, io, permit);
        }
        drop(listener);
        self.closing.cancelled().await;
        let deadline = Instant::now() + self.grace;
        let all_ended = async { while connections.join_next().await.is_some() {} };
        let _ = timeout_at(deadline, all_ended).await;
        deadline
    }

    fn spawn(
        &self,
        connections: &mut JoinSet<()>,
        http: &Arc<auto::Builder<TokioExecutor>>,
        io: Connection,
        permit: OwnedSemaphorePermit,
    ) {
        let (http, router, limits) = (http.clone(), self.router.clone(), self.limits);
        let (draining, closing) = (self.draining.clone(), self.closing.clone());
        self.threads.spawn(connections, async move {
            if let Ok(io) = io.rebind_to_runtime() {
                serve_connection(&http, io, permit, router, limits, (&draining, &closing)).await;
            }
        });
    }
}

/// Serves one connection until it ends. It accepts no new request after the port closes or after the idle timeout.
async fn serve_connection(
    http: &auto::Builder<TokioExecutor>,
    io: Connection,
    permit: OwnedSemaphorePermit,
    router: Router,
    limits: Limits,
    (draining, closing): (&CancellationToken, &CancellationToken),
) {
    let peer = Peer(io.peer());
    let tracker = HeaderTracker::default();
    let io = TimedIo::new(io, permit, tracker.clone(), &limits);
    let is_http2 = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        let http1 = request.version() < Version::HTTP_2;
        if !http1 {
            is_http2.store(true, Ordering::Relaxed);
        }
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(tracker.headers_complete());
        let (request, arrival) = if http1 {
            BodyArrival::track(request, tracker.body_incomplete())
        } else {
            (request.map(Body::new), None)
        };
        let response = router.clone().call(request);
        let (tracker, draining) = (tracker.clone(), draining.clone());
        async move {
            let mut response = response.await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                tracker.stop_tracking();
                return Ok(response);
            }
            let closes =
                draining.is_cancelled() || response.headers().contains_key(header::CONNECTION);
            if http1 && (closes || !has_arrived(arrival).await) {
                // The client leaves the connection before it closes, so that it loses no request (RFC 9112 §9.6).
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http.serve_connection_with_upgrades(TokioIo::new(io), service);
    // On HTTP/2, GOAWAY asks the client to leave (RFC 9113 §6.8). The requests that it has sent are served.
    let draining_http2 = async {
        draining.cancelled().await;
        if !is_http2.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    };
    let closing_or_idle = async {
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
            () = draining_http2 => {}
            () = tracker.wait_idle(limits.idle_timeout) => {}
        }
    };
    let serve = async {
        let mut connection = pin!(connection);
        // A connection error is not logged here: the access log has the requests.
        tokio::select! {
            biased;
            _ = &mut connection => return,
            () = closing_or_idle => connection.as_mut().graceful_shutdown(),
        }
        // Do not wait for a client that has no request in progress and does not close the connection.
        tokio::select! {
            biased;
            _ = connection => {}
            () = tracker.wait_idle(limits.header_read_timeout) => {}
        }
    };
    tokio::select! {
        biased;
        () = serve => {}
        () = tracker.enforce_write_timeout(limits.write_timeout) => {}
    }
}

/// Whether a request's body has arrived. Without one, there is nothing to wait for.
async fn has_arrived(body: Option<Arc<BodyArrival>>) -> bool {
    match body {
        None => true,
        Some(body) => body.complete().await,
    }
}

/// [`HeaderTracker`] enforces the timeouts for headers and idle connections. hyper answers oversized headers with a 431
/// without a body; our own limits are lower.
fn http() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(256)
        .max_buf_size(128 << 10);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(200)
        .max_header_list_size(128 << 10)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    http
}
