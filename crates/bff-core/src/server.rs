//! The HTTP server: the accept loop, the admin port, and graceful shutdown.
//!
//! The caller binds the listeners and decides when to stop: [`serve`] takes [`Listeners`], an [`App`] and a future.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::select;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::Secret;
use crate::net::{Listener, Threads};

use accept::AcceptLoop;

pub use app::{App, GatewayBuilder, Settings};
pub use process::{exit_with_error, stop_signal};
pub(crate) use production_checks::check as check_production;

mod accept;
mod admin;
mod app;
mod dependencies;
mod header_timeout;
mod process;
mod production_checks;
mod readiness;
mod system_endpoints;
mod write_timeout;

/// Listen addresses, connection limits and shutdown times of a gateway.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address for clients. The gateways' own configuration uses a loopback address.
    pub listen: SocketAddr,
    /// The address for operators: metrics, readiness, configuration. It must not be public.
    pub admin_listen: SocketAddr,
    /// Allows an `admin_listen` that other machines can reach, for example in a pod whose network admits only
    /// operators. Default false: production then requires a loopback address.
    #[serde(default)]
    pub admin_allow_remote: bool,
    /// The bearer token for changes on the admin port. Read it from a file if you can. Default none: the admin port
    /// refuses all changes.
    #[serde(default)]
    pub admin_token: Option<Secret>,
    /// The URL of this gateway for clients, without a final slash. Problem types are URLs below it.
    pub public_url: String,
    /// Maximum time from the first to the last byte of a request's headers. Default 10s: the slowest phones need 1s, and
    /// a client that needs more than 10s only blocks a connection.
    #[serde(
        default = "Config::default_header_read_timeout",
        with = "crate::config::duration::some"
    )]
    pub header_read_timeout: Duration,
    /// Maximum time of a connection without a request, for HTTP/1.1 and HTTP/2. Default 75s: longer than the idle
    /// timeout of load balancers (60s).
    #[serde(default = "Config::idle_timeout", with = "crate::config::duration")]
    pub idle_timeout: Duration,
    /// Maximum time in which a client reads nothing of a response. After it, the gateway closes the connection
    /// (HTTP/1.1) or the stream (HTTP/2). The time does not run while the response has no data to send. Default 30s: a
    /// phone regains its network within it.
    #[serde(
        default = "Config::write_timeout",
        with = "crate::config::duration::some"
    )]
    pub write_timeout: Duration,
    /// Maximum number of open connections, including `WebSocket` connections. Further connections wait in the kernel's queue. Default
    /// 10000: far below the usual limit of open files (65536), which also covers connections to backends.
    #[serde(default = "Config::max_connections")]
    pub max_connections: usize,
    /// Number of threads for client connections. Default: the number of cores, or the container's CPU limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_threads: Option<NonZeroUsize>,
    /// Time between the stop signal and the close of the listener; readiness fails during it. Default 0s. Behind a load
    /// balancer, set its check interval.
    #[serde(default, with = "crate::config::duration")]
    pub drain_delay: Duration,
    /// Maximum time for responses and writes in progress after the listener closed. The server aborts the rest.
    /// Default 10s.
    #[serde(default = "Config::drain_timeout", with = "crate::config::duration")]
    pub drain_timeout: Duration,
}

impl Config {
    fn default_header_read_timeout() -> Duration {
        Duration::from_secs(10)
    }

    fn idle_timeout() -> Duration {
        Duration::from_secs(75)
    }

    fn write_timeout() -> Duration {
        Duration::from_secs(30)
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
    /// The listener for clients.
    pub public: Listener,
    /// The listener for operators.
    pub admin: Listener,
}

/// Binds both addresses. The error is one line with the address that failed.
pub async fn bind(config: &Config) -> Result<Listeners, String> {
    let bind_one = |address: SocketAddr| async move {
        let listener = TcpListener::bind(address).await;
        listener
            .map(Listener::Tcp)
            .map_err(|error| cannot_listen(address, &error))
    };
    Ok(Listeners {
        public: bind_one(config.listen).await?,
        admin: bind_one(config.admin_listen).await?,
    })
}

/// The error line for an address that cannot be bound.
pub fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    let cause = match error.kind() {
        io::ErrorKind::AddrInUse => "the address is already in use".to_owned(),
        _ => error.to_string(),
    };
    format!("cannot listen on {address}: {cause}")
}

/// Time for the last responses on the admin port, after all other work has ended.
const ADMIN_GRACE: Duration = Duration::from_secs(1);
/// Time to drop the aborted tasks.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// Serves until `stop` resolves, then drains. It starts when service discovery has the backends' instances. Draining
/// makes readiness fail, closes the listener, and waits for responses and writes, up to `drain_timeout`. Worker threads
/// serve TCP connections. In-memory connections run on the calling thread: a simulation has only one.
pub async fn serve(listeners: Listeners, app: App, stop: impl Future<Output = ()>) {
    let admin_closing = CancellationToken::new();
    let wait_stop = async {
        stop.await;
        app.readiness().drain();
        sleep(app.config().drain_delay).await;
        app.readiness().begin_shutdown();
    };
    // The threads live to the end: they also run writes whose clients disconnected.
    let threads = match &listeners.public {
        Listener::Tcp(_) => Threads::try_start(app.config().worker_threads),
        Listener::InMemory(_) => Threads::none(),
    };
    let public = AcceptLoop {
        router: app.router(),
        limits: app.limits(),
        closing: app.readiness().shutdown_token(),
        grace: app.config().drain_timeout,
        threads: &threads,
    };
    let admin = AcceptLoop {
        router: app.admin_router(),
        limits: app.limits(),
        closing: admin_closing.clone(),
        grace: ADMIN_GRACE,
        threads: &Threads::none(),
    };
    let serve_and_drain = async {
        // New connections wait until service discovery has its first result.
        select! {
            biased;
            () = public.closing.cancelled() => {}
            () = app.wait_for_discovery() => app.readiness().started(),
        }
        // Responses and writes share one deadline.
        let deadline = public.serve(listeners.public).await;
        app.tasks().close();
        let _ = timeout_at(deadline, app.tasks().wait()).await;
        admin_closing.cancel();
    };
    tokio::join!(wait_stop, serve_and_drain, admin.serve(listeners.admin));
    // Dropping an aborted request writes its access log line.
    let _ = timeout(ABORT_GRACE, threads.end()).await;
    crate::telemetry::logs::flush();
}
