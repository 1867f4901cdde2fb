//! One port: every connection in a task of its own, until the port closes.

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

use super::header_timeout::{HeaderTracker, TimedIo};
use crate::inbound::Peer;
use crate::net::{Connection, Listener, Threads};

/// What holds for every connection of a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a head may take, from its first byte to its last.
    pub(super) head_timeout: Duration,
    /// How long a connection may be without a request.
    pub(super) idle_timeout: Duration,
    /// How long the other side may take nothing.
    pub(super) write_timeout: Duration,
    /// The most at once, those that became a `WebSocket` included; more wait in the kernel's bounded queue.
    pub(super) max_connections: usize,
}

/// What is served on a port, and how it ends.
pub(super) struct AcceptLoop<'a> {
    pub(super) router: Router,
    pub(super) limits: Limits,
    /// From then on nothing new is taken, and what has begun may end.
    pub(super) closing: CancellationToken,
    /// How long that may take; what is left is cut.
    pub(super) grace: Duration,
    /// Where its connections are served.
    pub(super) threads: &'a Threads,
}

impl AcceptLoop<'_> {
    /// Serves until the port has closed and every connection has ended. Answers until when the grace lasts.
    pub(super) async fn serve(self, mut from: Listener) -> Instant {
        let room = Arc::new(Semaphore::new(self.limits.max_connections));
        let http = Arc::new(http());
        // Dropped with whatever is still in it, which cuts that.
        let mut connections = JoinSet::new();
        loop {
            // Room first, then a connection.
            let next = async {
                let room = room.clone().acquire_owned().await.ok()?;
                Some((from.next().await?, room))
            };
            let next = tokio::select! {
                biased;
                () = self.closing.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                next = next => next,
            };
            let Some((wire, room)) = next else { break };
            let (http, router) = (http.clone(), self.router.clone());
            let (limits, closing) = (self.limits, self.closing.clone());
            self.threads.spawn(&mut connections, async move {
                if let Ok(wire) = wire.rebind_to_runtime() {
                    connection(&http, wire, room, router, limits, &closing).await;
                }
            });
        }
        drop(from);
        self.closing.cancelled().await;
        let until = Instant::now() + self.grace;
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = timeout_at(until, ended).await;
        until
    }
}

/// Serves one connection until it ends. Once the port closes, or it has been idle for long, it takes no new request.
async fn connection(
    http: &auto::Builder<TokioExecutor>,
    wire: Connection,
    room: OwnedSemaphorePermit,
    router: Router,
    limits: Limits,
    closing: &CancellationToken,
) {
    let peer = Peer(wire.peer());
    let heads = HeaderTracker::default();
    let wire = TimedIo::new(wire, room, heads.clone(), &limits);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(heads.headers_complete());
        let heads = heads.clone();
        let switched = |answer: &Response| answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        router.clone().call(request).inspect(move |answer| {
            if answer.as_ref().is_ok_and(switched) {
                heads.stop_tracking();
            }
        })
    });
    let connection = http.serve_connection_with_upgrades(TokioIo::new(wire), service);
    let enough = async {
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
            () = heads.wait_idle(limits.idle_timeout) => {}
        }
    };
    let served = async {
        let mut connection = pin!(connection);
        // A connection that ends badly concerns its client only; what it asked for is logged already.
        tokio::select! {
            biased;
            _ = &mut connection => return,
            () = enough => connection.as_mut().graceful_shutdown(),
        }
        // Whoever has nothing under way and does not even take leave is not waited for.
        tokio::select! {
            biased;
            _ = connection => {}
            () = heads.wait_idle(limits.head_timeout) => {}
        }
    };
    tokio::select! {
        biased;
        () = served => {}
        () = heads.enforce_write_timeout(limits.write_timeout) => {}
    }
}

/// Silence and slow heads are [`Heads`]' to bound, whatever the protocol. hyper answers oversized heads with a bare
/// 431; ours come first.
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
