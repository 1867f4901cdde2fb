//! The accept loop, the admin port, and stopping without losing an answer.
//!
//! The caller binds and decides when to stop: [`serve`] takes listeners, an [`App`] and a future.

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
pub use start::{GatewayConfig, Program, build, exit_with_error, start, stop_signal};

mod accept;
mod admin;
mod app;
mod dependencies;
mod header_timeout;
mod production_checks;
mod readiness;
mod start;
mod system_endpoints;
mod write_timeout;

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
    pub admin_allow_remote: bool,
    /// What whoever changes something on the admin port sends as its bearer token, best from a file. Default none:
    /// nothing can be changed.
    #[serde(default)]
    pub admin_token: Option<Secret>,
    /// How the world reaches this gateway, without a final slash: problem types are pages below it.
    pub public_url: String,
    /// How long a request's head may take to arrive, from its first byte to its last. Default 10s: the slowest
    /// phones need one, and who needs more is holding connections open.
    #[serde(
        default = "Config::head_timeout",
        with = "crate::config::duration::some"
    )]
    pub header_read_timeout: Duration,
    /// How long a connection may be without a request, over HTTP/1.1 and HTTP/2 alike. Default 75s: longer than load
    /// balancers keep connections idle (60s).
    #[serde(default = "Config::idle_timeout", with = "crate::config::duration")]
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what is written to it; then its connection is cut, or over HTTP/2, where
    /// only one answer may stand still, that answer given up, and what it held is free. An answer of which nothing is
    /// there to be sent does not stand still. Default 30s: a phone comes out of a tunnel within it, and who reads no
    /// 16 KiB in that time will not see the end.
    #[serde(
        default = "Config::write_timeout",
        with = "crate::config::duration::some"
    )]
    pub write_timeout: Duration,
    /// The most connections at once, those included that became a `WebSocket`, until these end; more wait in the kernel's
    /// queue. Default 10000: well below the usual limit of open files (65536), for those to backends count too.
    #[serde(default = "Config::max_connections")]
    pub max_connections: usize,
    /// How many threads serve clients, each a share of the connections. Default: as many as there are cores, or as the
    /// container may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_threads: Option<NonZeroUsize>,
    /// After being told to stop: how long readiness says so before the listener closes. Default 0s;
    /// behind a load balancer, its check interval.
    #[serde(default, with = "crate::config::duration")]
    pub drain_delay: Duration,
    /// How long answers and writes in progress may take to end after that; what has not ended then is cut. Default
    /// 10s.
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
    /// For clients.
    pub public: Listener,
    /// For operators.
    pub admin: Listener,
}

/// Binds both addresses. The error is one line that names the one that failed.
pub async fn bind(config: &Config) -> Result<Listeners, String> {
    let one = |address: SocketAddr| async move {
        let bound = TcpListener::bind(address).await;
        bound
            .map(Listener::Tcp)
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

/// What the admin port's last answers may take, once nothing else runs.
const ADMIN_GRACE: Duration = Duration::from_secs(1);
/// What dropping all that was cut may take: no more than whatever runs at the moment.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// Serves, once the backends' instances are known, until `stop`; then drains: readiness says no, the listener closes,
/// answers and writes end or are cut. Clients on sockets are served by threads of their own, those on pipes where this
/// is called: in a simulation there is one thread.
pub async fn serve(listeners: Listeners, app: App, stop: impl Future<Output = ()>) {
    let admin_closing = CancellationToken::new();
    let until_told = async {
        stop.await;
        app.readiness().drain();
        sleep(app.config().drain_delay).await;
        app.readiness().begin_shutdown();
    };
    // Kept to the end: writes whose clients have left run on them too.
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
    let answers_and_writes = async {
        // Who connects meanwhile waits, and finds a gateway that knows whom to ask.
        select! {
            biased;
            () = public.closing.cancelled() => {}
            () = app.wait_for_discovery() => app.readiness().started(),
        }
        // One bound for both.
        let until = public.serve(listeners.public).await;
        app.tasks().close();
        let _ = timeout_at(until, app.tasks().wait()).await;
        admin_closing.cancel();
    };
    tokio::join!(until_told, answers_and_writes, admin.serve(listeners.admin));
    // What was cut is logged when it is dropped.
    let _ = timeout(ABORT_GRACE, threads.end()).await;
    crate::telemetry::logs::flush();
}
