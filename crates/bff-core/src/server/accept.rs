//! The accept loop of one port. Each connection has its own task, until the port closes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use futures_util::FutureExt;
use http::{Request, StatusCode};
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
use crate::inbound::Peer;
use crate::net::{Connection, Listener, WorkerThreads};

/// The accept loop of a port.
pub(super) struct AcceptLoop<'a> {
    pub(super) router: Router,
    pub(super) limits: Limits,
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
            let (http, router) = (http.clone(), self.router.clone());
            let (limits, closing) = (self.limits, self.closing.clone());
            self.threads.spawn(&mut connections, async move {
                if let Ok(io) = io.rebind_to_runtime() {
                    serve_connection(&http, io, permit, router, limits, &closing).await;
                }
            });
        }
        drop(listener);
        self.closing.cancelled().await;
        let deadline = Instant::now() + self.grace;
        let all_ended = async { while connections.join_next().await.is_some() {} };
        let _ = timeout_at(deadline, all_ended).await;
        deadline
    }
}

/// Serves one connection until it ends. It accepts no new request after the port closes or after the idle timeout.
async fn serve_connection(
    http: &auto::Builder<TokioExecutor>,
    io: Connection,
    permit: OwnedSemaphorePermit,
    router: Router,
    limits: Limits,
    closing: &CancellationToken,
) {
    let peer = Peer(io.peer());
    let tracker = HeaderTracker::default();
    let io = TimedIo::new(io, permit, tracker.clone(), &limits);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(tracker.headers_complete());
        let tracker = tracker.clone();
        let is_upgrade = |response: &Response| response.status() == StatusCode::SWITCHING_PROTOCOLS;
        router.clone().call(request).inspect(move |response| {
            if response.as_ref().is_ok_and(is_upgrade) {
                tracker.stop_tracking();
            }
        })
    });
    let connection = http.serve_connection_with_upgrades(TokioIo::new(io), service);
    let closing_or_idle = async {
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
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
