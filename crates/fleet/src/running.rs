//! A fleet that runs: its URLs, its mocks, and stopping it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bff_core::server::{self, App, Listeners};
use services_mock::{Backend, Mocks, serve, serve_control};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::overlay::Addresses;
use crate::ports::{self, Ports};

/// The backends' bound ports, and the URL of each: its mock's, or the real one's.
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

    /// The URL of each of the eight.
    pub(crate) fn urls(&self) -> &BTreeMap<Backend, String> {
        &self.urls
    }

    /// Who signs tokens: the auth backend, by its own URL.
    pub(crate) fn issuer(&self) -> &str {
        self.urls.get(&Backend::Auth).map_or("", String::as_str)
    }
}

/// A fleet that runs. Dropped without [`Running::stop`], it ends at once and loses what is in progress.
pub struct Running {
    gateways: BTreeMap<&'static str, Served>,
    mocks: Mocks,
    backends: BTreeMap<Backend, String>,
    faked: Vec<Backend>,
    control: SocketAddr,
    serving: Part,
    faking: Part,
}

/// A gateway that is served: its addresses and its contracts.
struct Served {
    addresses: Addresses,
    openapi: String,
    has_graphql: bool,
}

/// Servers that stop together.
#[derive(Default)]
struct Part {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Part {
    async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Running {
    /// Serves the mocks and their control port; no gateway yet.
    pub(crate) fn new(mocks: Mocks, backends: Backends) -> Self {
        let mut faking = Part::default();
        let faked = backends.mocks.iter().map(|(backend, _)| *backend).collect();
        for (backend, listener) in backends.mocks {
            let stop = faking.stop.clone().cancelled_owned();
            let serve = serve(mocks.clone(), backend, listener, stop);
            faking.tasks.spawn(serve);
        }
        let (listener, control) = backends.control;
        let stop = faking.stop.clone().cancelled_owned();
        faking
            .tasks
            .spawn(serve_control(mocks.clone(), listener, stop));
        Self {
            gateways: BTreeMap::new(),
            mocks,
            backends: backends.urls,
            faked,
            control,
            serving: Part::default(),
            faking,
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
        let served = Served {
            addresses,
            openapi: app.openapi().unwrap_or_default(),
            has_graphql: app.graphql_schema().is_some(),
        };
        let stop = self.serving.stop.clone().cancelled_owned();
        let serve = server::serve(listeners, app, stop);
        self.serving.tasks.spawn(serve);
        self.gateways.insert(name, served);
    }

    /// Whether this gateway is part of the fleet.
    pub fn has(&self, gateway: &str) -> bool {
        self.gateways.contains_key(gateway)
    }

    /// Where clients reach a gateway, without a final slash; empty if it does not run.
    pub fn url(&self, gateway: &str) -> String {
        self.gateways
            .get(gateway)
            .map_or_else(String::new, |served| served.addresses.url())
    }

    /// Where operators reach a gateway, without a final slash; empty if it does not run.
    pub fn admin_url(&self, gateway: &str) -> String {
        self.gateways
            .get(gateway)
            .map_or_else(String::new, |served| served.addresses.admin_url())
    }

    /// The OpenAPI document of a gateway; empty if it does not run.
    pub(crate) fn openapi(&self, gateway: &str) -> &str {
        self.gateways
            .get(gateway)
            .map_or("", |served| &served.openapi)
    }

    /// Whether a gateway has GraphQL routes.
    pub(crate) fn has_graphql(&self, gateway: &str) -> bool {
        self.gateways
            .get(gateway)
            .is_some_and(|served| served.has_graphql)
    }

    /// Where a backend is reached: its mock, or the real one.
    pub fn backend_url(&self, backend: Backend) -> &str {
        self.backends.get(&backend).map_or("", String::as_str)
    }

    /// Whether this backend is a mock.
    pub fn is_mocked(&self, backend: Backend) -> bool {
        self.faked.contains(&backend)
    }

    /// Where the mocks are told to fail.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// The mocks: faults, counters, tokens.
    pub fn mocks(&self) -> &Mocks {
        &self.mocks
    }

    /// Stops the gateways, which finish what they have begun, then the mocks.
    pub async fn stop(self) {
        self.serving.end().await;
        self.faking.end().await;
    }
}
