//! Binds the ports, serves, and drains.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::select;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::accept::AcceptLoop;
use super::app::App;
use super::config::Config;
use crate::net::{Listener, WorkerThreads};

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
/// makes readiness fail and asks clients to leave their connections. After `drain_delay` it closes the listener, and
/// waits for responses and writes, up to `drain_timeout`. Worker threads serve TCP connections. In-memory connections run on the calling thread: a simulation has only one.
pub async fn serve(listeners: Listeners, app: App, stop: impl Future<Output = ()>) {
    let admin_closing = CancellationToken::new();
    let wait_stop = async {
        stop.await;
        app.readiness().drain();
        sleep(app.config().drain_delay).await;
        app.readiness().begin_shutdown();
    };
    // The threads run to the end: they also run writes whose clients disconnected.
    let threads = match &listeners.public {
        Listener::Tcp(_) => WorkerThreads::try_start(app.config().worker_threads),
        Listener::InMemory(_) => WorkerThreads::none(),
    };
    let public = AcceptLoop {
        router: app.router(),
        limits: app.limits(),
        draining: app.readiness().draining_token(),
        closing: app.readiness().shutdown_token(),
        grace: app.config().drain_timeout,
        threads: &threads,
    };
    let admin = AcceptLoop {
        router: app.admin_router(),
        limits: app.limits(),
        draining: admin_closing.clone(),
        closing: admin_closing.clone(),
        grace: ADMIN_GRACE,
        threads: &WorkerThreads::none(),
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
    let _ = timeout(ABORT_GRACE, threads.stop()).await;
}
