//! One more instance of a backend, outside the fleet, with its own call counts.

use bff_core::context::Env;
use services_mock::{Backend, Mocks, Options, Stats};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running instance.
pub(crate) struct Instance {
    pub(crate) address: std::net::SocketAddr,
    mocks: Mocks,
    backend: Backend,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Instance {
    /// Starts an instance on a free port.
    pub(crate) async fn start(backend: Backend) -> Self {
        Self::start_at(backend, "127.0.0.1:0").await
    }

    /// Starts an instance at this address.
    pub(crate) async fn start_at(backend: Backend, address: &str) -> Self {
        let mocks = Mocks::new(Options {
            seed: 1,
            issuer: String::new(),
            epoch: Env::real().now().into(),
        });
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(services_mock::serve(
            mocks.clone(),
            backend,
            listener,
            stopped,
        ));
        Self {
            address,
            mocks,
            backend,
            stop,
            serving,
        }
    }

    /// Aborts every connection, as a crashed machine does.
    pub(crate) async fn crash(self) {
        self.serving.abort();
        self.serving.await.ok();
    }

    /// Shuts down gracefully: requests in progress are answered, then the connections close.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }

    pub(crate) fn stats(&self) -> Stats {
        self.mocks.stats(self.backend)
    }
}
