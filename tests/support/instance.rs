//! One more instance of a backend, beside those of the fleet, with counts of its own.

use bff_core::context::Env;
use services_mock::{Backend, Mocks, Options, Stats};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// An instance that runs until it is stopped, or dies.
pub(crate) struct Instance {
    pub(crate) address: std::net::SocketAddr,
    mocks: Mocks,
    backend: Backend,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Instance {
    /// Starts one on a free port.
    pub(crate) async fn start(backend: Backend) -> Self {
        Self::at(backend, "127.0.0.1:0").await
    }

    /// Starts one where it is told to.
    pub(crate) async fn at(backend: Backend, address: &str) -> Self {
        let mocks = Mocks::new(Options {
            seed: 1,
            issuer: String::new(),
            epoch: Env::real().now().into(),
        });
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        let serving = tokio::spawn(services_mock::serve(
            mocks.clone(),
            backend,
            listener,
            until,
        ));
        Self {
            address,
            mocks,
            backend,
            stop,
            serving,
        }
    }

    /// Dies as a machine does: every connection is cut.
    pub(crate) async fn die(self) {
        self.serving.abort();
        self.serving.await.ok();
    }

    /// Ends as a process does that is told to: what it answers is answered, then its connections close.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }

    pub(crate) fn stats(&self) -> Stats {
        self.mocks.stats(self.backend)
    }
}
