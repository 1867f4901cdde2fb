//! The accept loop, the admin port, and stopping without losing an answer.
//!
//! The caller binds and decides when to stop: [`serve`] takes listeners, an [`App`] and a future.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::inbound::Peer;
use crate::net::{Accept, Wire};

use heads::{Heads, Watched};

pub use app::{App, Gateway, Settings};
pub use start::{Configured, Program, open, refuse, start, stop_signal};

mod admin;
mod app;
mod heads;
mod pages;
mod production;
mod readiness;
mod start;

/// Where a gateway listens, and how it starts and stops.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where clients connect. Binds loopback unless told otherwise.
    pub listen: SocketAddr,
    /// Where operators connect: metrics, readiness, configuration. Never public.
    pub admin_listen: SocketAddr,
    /// Whether `admin_listen` may be an address that other machines can reach, as in a pod whose network only lets
    /// operators in. Default false: in production any but a loopback address is refused.
    #[serde(default)]
    pub admin_beyond_loopback: bool,
    /// How the world reaches this gateway, without a final slash: problem types are pages below it.
    pub public_url: String,
    /// How long a request's head may take to arrive, from its first byte to its last. Default 10s: the slowest
    /// phones need one, and who needs more is holding connections open.
    #[serde(default = "Config::head_timeout", with = "crate::config::duration")]
    pub head_timeout: Duration,
    /// How long a connection may be silent before a request's head. Default 75s: longer than load balancers keep
    /// connections idle (60s).
    #[serde(default = "Config::idle_timeout", with = "crate::config::duration")]
    pub idle_timeout: Duration,
    /// The most connections at once; more wait in the kernel's queue. Default 10000.
    #[serde(default = "Config::max_connections")]
    pub max_connections: usize,
    /// After being told to stop: how long readiness says so before the listener closes. Default 0s;
    /// behind a load balancer, its check interval.
    #[serde(default, with = "crate::config::duration")]
    pub drain_delay: Duration,
    /// How long answers and writes in progress may take to end after that. Default 10s.
    #[serde(default = "Config::drain_timeout", with = "crate::config::duration")]
    pub drain_timeout: Duration,
}

impl Config {
    fn head_timeout() -> Duration {
        Duration::from_secs(10)
    }

    fn idle_timeout() -> Duration {
        Duration::from_secs(75)
    }

    fn max_connections() -> usize {
        10_000
    }

    fn drain_timeout() -> Duration {
        Duration::from_secs(10)
    }
}

/// A gateway's two bound listeners.
pub struct Listeners {
    /// For clients.
    pub public: Accept,
    /// For operators.
    pub admin: Accept,
}

/// Binds both addresses. The error is one line that names the one that failed.
pub async fn bind(config: &Config) -> Result<Listeners, String> {
    let one = |address: SocketAddr| async move {
        let bound = TcpListener::bind(address).await;
        bound
            .map(Accept::Tcp)
            .map_err(|error| cannot_listen(address, &error))
    };
    Ok(Listeners {
        public: one(config.listen).await?,
        admin: one(config.admin_listen).await?,
    })
}

/// The one line about an address that could not be had.
pub fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "it is taken".to_owned(),
        _ => error.to_string(),
    };
    format!("cannot listen on {address}: {why}")
}

/// Serves until `stop`, then drains: readiness says no, the listener closes, answers and writes end.
pub async fn serve(listeners: Listeners, app: App, stop: impl Future<Output = ()>) {
    let limits = app.limits();
    let admin_stop = tokio_util::sync::CancellationToken::new();
    let admin = accept_loop(
        listeners.admin,
        app.admin_router(),
        limits,
        admin_stop.clone().cancelled_owned(),
    );
    let readiness = app.readiness().clone();
    let public = accept_loop(listeners.public, app.router(), limits, async {
        stop.await;
        readiness.drain();
        tokio::time::sleep(limits.drain_delay).await;
    });
    let tasks = app.tasks().clone();
    let main = async {
        app.readiness().started();
        public.await;
        tasks.close();
        let _ = timeout(limits.drain_timeout, tasks.wait()).await;
        admin_stop.cancel();
    };
    tokio::join!(main, admin);
    crate::telemetry::logs::flush();
}

/// What the accept loop needs of [`Config`].
#[derive(Clone, Copy, Debug)]
struct Limits {
    head_timeout: Duration,
    idle_timeout: Duration,
    max_connections: usize,
    drain_delay: Duration,
    drain_timeout: Duration,
}

/// Accepts until `stop`, then lets open connections finish what they have begun.
async fn accept_loop(
    mut accept: Accept,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(limits.max_connections));
    let http = Arc::new(http(limits.idle_timeout.max(limits.head_timeout)));
    tokio::pin!(stop);
    loop {
        let wire = tokio::select! {
            biased;
            () = &mut stop => break,
            wire = next(&room, &mut accept) => wire,
        };
        let Some((permit, wire)) = wire else { break };
        let peer = Peer(wire.peer());
        let heads = Heads::default();
        let wire = Watched::new(
            wire,
            heads.clone(),
            limits.idle_timeout,
            limits.head_timeout,
        );
        let router = router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            heads.arrived();
            request.extensions_mut().insert(peer);
            let answer = router.clone().call(request);
            let heads = heads.clone();
            answer.inspect(move |_| heads.answered())
        });
        let watcher = graceful.watcher();
        let http = http.clone();
        connections.spawn(async move {
            let connection = http.serve_connection(TokioIo::new(wire), service);
            // A connection that ends badly concerns its client only; what it asked for is logged already.
            let _ = watcher.watch(connection).await;
            drop(permit);
        });
    }
    drop(accept);
    connections.close();
    let _ = timeout(limits.drain_timeout, async {
        graceful.shutdown().await;
        connections.wait().await;
    })
    .await;
}

/// Room first: what cannot be served waits in the kernel's bounded queue.
async fn next(
    room: &Arc<Semaphore>,
    accept: &mut Accept,
) -> Option<(tokio::sync::OwnedSemaphorePermit, Wire)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    let wire = accept.next().await?;
    Some((permit, wire))
}

/// hyper sets no timer by itself, and answers oversized heads with a bare 431; ours come first.
fn http(idle_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(idle_timeout)
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
