//! A running fleet: its URLs, its mocks and its shutdown.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bff_core::server::{self, App, Contract, Listeners};
use services_mock::{Backend, Mocks, serve, serve_control};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::overlay::Addresses;
use crate::ports::{self, Ports};

/// The bound ports of the mocks, and the URL of each backend, mocked or real.
pub(crate) struct Backends {
    mocks: Vec<(Backend, TcpListener)>,
    control: (TcpListener, SocketAddr),
    urls: BTreeMap<Backend, String>,
}

impl Backends {
    /// Binds a port for every backend that is not `real`, and the control port.
    pub(crate) async fn bind(
        ports: Ports,
        real: &BTreeMap<Backend, String>,
    ) -> Result<Self, String> {
        let mut mocks = Vec::new();
        let mut urls = BTreeMap::new();
        for backend in Backend::ALL {
            let url = if let Some(url) = real.get(&backend) {
                url.trim_end_matches('/').to_owned()
            } else {
                let (listener, address) = ports::bind(ports.backend(backend)?).await?;
                mocks.push((backend, listener));
                format!("http://{address}")
            };
            urls.insert(backend, url);
        }
        Ok(Self {
            mocks,
            control: ports::bind(ports.control()?).await?,
            urls,
        })
    }

    /// The URL of each backend.
    pub(crate) fn urls(&self) -> &BTreeMap<Backend, String> {
        &self.urls
    }

    /// The issuer of tokens: the URL of the auth backend.
    pub(crate) fn issuer(&self) -> &str {
        self.urls.get(&Backend::Auth).map_or("", String::as_str)
    }
}

/// A running fleet. If it is dropped without [`Running::stop`], it aborts the requests in flight.
pub struct Running {
    gateways: BTreeMap<&'static str, ServedGateway>,
    mocks: Mocks,
    backends: BTreeMap<Backend, String>,
    mocked: Vec<Backend>,
    control: SocketAddr,
    gateway_servers: ServerGroup,
    mock_servers: ServerGroup,
}

/// A running gateway: its addresses and its contracts.
struct ServedGateway {
    addresses: Addresses,
    contract: Contract,
    has_graphql: bool,
}

/// Servers that stop together.
#[derive(Default)]
struct ServerGroup {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl ServerGroup {
    async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Running {
    /// Serves the mocks and their control port, and no gateway yet.
    pub(crate) fn new(mocks: Mocks, backends: Backends) -> Self {
        let mut mock_servers = ServerGroup::default();
        let mocked = backends.mocks.iter().map(|(backend, _)| *backend).collect();
        for (backend, listener) in backends.mocks {
            let stop = mock_servers.stop.clone().cancelled_owned();
            let serve = serve(mocks.clone(), backend, listener, stop);
            mock_servers.tasks.spawn(serve);
        }
        let (listener, control) = backends.control;
        let stop = mock_servers.stop.clone().cancelled_owned();
        mock_servers
            .tasks
            .spawn(serve_control(mocks.clone(), listener, stop));
        Self {
            gateways: BTreeMap::new(),
            mocks,
            backends: backends.urls,
            mocked,
            control,
            gateway_servers: ServerGroup::default(),
            mock_servers,
        }
    }

    /// Serves one gateway.
    pub(crate) fn serve(
        &mut self,
        name: &'static str,
        addresses: Addresses,
        listeners: Listeners,
        app: App,
    ) {
        let gateway = ServedGateway {
            addresses,
            contract: app.contract(),
            has_graphql: app.graphql_schema().is_some(),
        };
        let stop = self.gateway_servers.stop.clone().cancelled_owned();
        let serve = server::serve(listeners, app, stop);
        self.gateway_servers.tasks.spawn(serve);
        self.gateways.insert(name, gateway);
    }

    /// Whether the fleet runs this gateway.
    pub fn has(&self, gateway: &str) -> bool {
        self.gateways.contains_key(gateway)
    }

    /// The public URL of a gateway, without a final slash; empty if it does not run.
    pub fn url(&self, gateway: &str) -> String {
        self.gateways
            .get(gateway)
            .map_or_else(String::new, |served| served.addresses.url())
    }

    /// The admin URL of a gateway, without a final slash; empty if it does not run.
    pub fn admin_url(&self, gateway: &str) -> String {
        self.gateways
            .get(gateway)
            .map_or_else(String::new, |served| served.addresses.admin_url())
    }

    /// The OpenAPI document of a gateway; empty if it does not run.
    pub(crate) fn openapi(&self, gateway: &str) -> &str {
        let served = self.gateways.get(gateway);
        let json = served.and_then(|served| served.contract.json().ok());
        json.unwrap_or_default()
    }

    /// Whether a gateway has GraphQL routes.
    pub(crate) fn has_graphql(&self, gateway: &str) -> bool {
        self.gateways
            .get(gateway)
            .is_some_and(|served| served.has_graphql)
    }

    /// The URL of a backend, mocked or real.
    pub fn backend_url(&self, backend: Backend) -> &str {
        self.backends.get(&backend).map_or("", String::as_str)
    }

    /// Whether this backend is a mock.
    pub fn is_mocked(&self, backend: Backend) -> bool {
        self.mocked.contains(&backend)
    }

    /// The URL of the mocks' control port.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// The mocks: faults, statistics and tokens.
    pub fn mocks(&self) -> &Mocks {
        &self.mocks
    }

    /// Stops the gateways gracefully, then the mocks.
    pub async fn stop(self) {
        self.gateway_servers.stop().await;
        self.mock_servers.stop().await;
    }
}
