//! One gateway put together: its doors behind the edge, beside its pages and its admin port.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use futures_util::future::join_all;
use http::HeaderValue;
use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::openapi::OpenApi;

use super::accept::Limits;
use super::dependencies::Dependency;
use super::readiness::Readiness;
use super::{Config, admin, system_endpoints};
use crate::action::IdempotentWrites;
use crate::auth::{self, Authenticator};
use crate::cache::{self, Cache};
use crate::config::{self, Mode};
use crate::context::{Env, GatewayHandles};
use crate::discovery::InitialResolution;
use crate::error::Code;
use crate::inbound::load_shed::LoadShedder;
use crate::inbound::{self, Edge, Endpoints};
use crate::outbound::{self, Upstream};
use crate::routes::{self, RouteContext};
use crate::store::{self, RecordCipher, Store};
use crate::telemetry::logs;
use crate::{grpc, openapi, rate_limit, section};

/// What of a gateway's configuration the core itself reads.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Production or development.
    pub mode: Mode,
    /// Where it listens.
    pub server: &'a Config,
    /// What its edge lets in.
    pub inbound: &'a inbound::Config,
    /// Which credentials it takes.
    pub auth: &'a auth::Config,
    /// What it logs.
    pub telemetry: &'a logs::Config,
    /// What it passes on.
    pub routes: &'a routes::Configs,
    /// What it keeps of its backends' answers.
    pub cache: &'a cache::Config,
    /// Where it keeps what replicas share.
    pub store: &'a store::Config,
}

/// A gateway being put together: its name, and what all its parts share.
#[derive(Debug)]
pub struct GatewayBuilder<'a> {
    name: &'static str,
    settings: Settings<'a>,
    shared: Arc<GatewayHandles>,
    auth: Authenticator,
    store: Store,
    seal: RecordCipher,
    /// Those that answer over HTTP, for the routes that pass requests on.
    upstreams: Mutex<BTreeMap<&'static str, Upstream>>,
    /// Whose instances start-up waits to know, and who is shown to operators when something is wrong with it.
    known: Mutex<Vec<Dependency>>,
    codes: &'static [Code],
    docs: bool,
}

impl<'a> GatewayBuilder<'a> {
    /// Begins a gateway for the client class `name`.
    pub fn open(name: &'static str, settings: Settings<'a>, world: &Env) -> Result<Self, String> {
        let world = world.fork(name);
        let store = Store::open(settings.store, &world)?;
        let shared = Arc::new(GatewayHandles {
            client: HeaderValue::from_static(name),
            cache: Cache::with_shared_tier(settings.cache, &world, name, &store),
            env: world,
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            metrics: crate::telemetry::Metrics::new(name)?,
            fields: section::fields::FieldCache::default(),
        });
        let cache = shared.cache.clone();
        cache.follow(&store, &shared);
        shared.metrics.gauge(
            "bff.cache.bytes",
            "Bytes of backends' answers kept in this process.",
            move || cache.bytes(),
        );
        let auth = Authenticator::new(settings.auth, &shared);
        let auth = auth.map_err(|line| format!("auth.{line}"))?;
        Ok(Self {
            name,
            settings,
            known: Mutex::new(vec![Dependency::Jwks(auth.clone())]),
            auth,
            store,
            seal: RecordCipher::open(settings.store, &shared.env)?,
            shared,
            upstreams: Mutex::default(),
            codes: &[],
            docs: !settings.mode.is_production(),
        })
    }

    /// The memory of its writes. [`Self::codes`] come before it: a refusal is told again with its own.
    pub fn writes(&self) -> IdempotentWrites {
        IdempotentWrites::new(
            self.store.clone(),
            self.seal.clone(),
            self.codes,
            &self.shared,
        )
    }

    /// What replicas share.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What secrets are sealed with before they go into the store.
    pub fn seal(&self) -> &RecordCipher {
        &self.seal
    }

    /// What all parts of this gateway share.
    pub fn shared(&self) -> &Arc<GatewayHandles> {
        &self.shared
    }

    /// A backend of this gateway.
    pub fn upstream(
        &self,
        name: &'static str,
        config: &outbound::Config,
    ) -> Result<Upstream, String> {
        let upstream = Upstream::new(name, config, &self.shared)?;
        self.upstreams.lock().insert(name, upstream.clone());
        self.known.lock().push(Dependency::Http(upstream.clone()));
        Ok(upstream)
    }

    /// A backend of this gateway that speaks gRPC.
    pub fn grpc_upstream(
        &self,
        name: &'static str,
        config: &outbound::Config,
    ) -> Result<grpc::Upstream, String> {
        let upstream = grpc::Upstream::new(name, config, &self.shared)?;
        self.known.lock().push(Dependency::Grpc(upstream.clone()));
        Ok(upstream)
    }

    /// The codes of this gateway's domain, so that each has its page.
    #[must_use]
    pub fn codes(mut self, codes: &'static [Code]) -> Self {
        self.codes = codes;
        self
    }

    /// Shows the reference page in production too.
    #[must_use]
    pub fn public_docs(mut self) -> Self {
        self.docs = true;
        self
    }

    /// The finished gateway. `config` is the whole configuration, for the admin port.
    pub fn build<S>(
        self,
        doors: Endpoints<S>,
        state: S,
        config: &impl Serialize,
    ) -> Result<App, String>
    where
        S: Clone + Send + Sync + 'static,
    {
        let (router, api, table) = doors.into_parts(state);
        let inbound = self.settings.inbound;
        let limits =
            rate_limit::Limits::open(&inbound.rate_limits, self.store.clone(), &self.shared)?;
        let api = openapi::finalize(api, self.settings.auth, self.settings.routes, &limits);
        let text = api.to_pretty_json().map_err(|error| error.to_string())?;
        let readiness = Readiness::new(self.shared.shutdown.clone());
        let around = RouteContext {
            trusted: inbound.trusted_proxies.clone(),
            max_body_bytes: inbound.max_body_bytes,
            leaving: readiness.shutdown_token(),
        };
        let passed = routes::open(self.settings.routes, &self.upstreams.lock(), around)?;
        let edge = Arc::new(Edge {
            routes: passed,
            shed: LoadShedder::new(&inbound.load_shedding, &self.shared)?,
            shared: self.shared.clone(),
            config: inbound.clone(),
            doors: table,
            auth: self.auth,
            limits,
            public_url: self
                .settings
                .server
                .public_url
                .trim_end_matches('/')
                .to_owned(),
        });
        let mut router = router.merge(system_endpoints::router(
            readiness.clone(),
            text,
            self.codes,
        ));
        if self.docs {
            router = router.merge(openapi::docs_page(api.clone()));
        }
        let router = router.fallback(routes::fallback);
        let metrics = self.shared.metrics.clone();
        let known = self.known.into_inner();
        let awaited = known
            .iter()
            .filter_map(Dependency::initial_discovery)
            .collect();
        let backends = known
            .iter()
            .filter(|known| !matches!(known, Dependency::Jwks(_)));
        let names = backends.map(Dependency::name).collect();
        Ok(App {
            name: self.name,
            router: inbound::layer(&edge, router)?,
            admin: admin::router(
                admin::ReadinessReport::new(readiness.clone(), self.store, known),
                metrics,
                config::print(config),
            )
            .merge(admin::changes(&self.shared, self.settings.server, names)),
            api,
            readiness,
            shared: self.shared,
            awaited,
            config: self.settings.server.clone(),
        })
    }
}

/// A gateway ready to be served.
pub struct App {
    name: &'static str,
    router: Router,
    admin: Router,
    api: OpenApi,
    readiness: Readiness,
    shared: Arc<GatewayHandles>,
    awaited: Vec<InitialResolution>,
    config: Config,
}

impl App {
    /// The client class.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The contract, as `openapi.json` holds it.
    pub fn openapi(&self) -> Result<String, String> {
        let text = self.api.to_pretty_json();
        text.map(|t| t + "\n").map_err(|error| error.to_string())
    }

    /// What clients reach.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// What operators reach.
    pub(crate) fn admin_router(&self) -> Router {
        self.admin.clone()
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Waits until it knows an instance of each backend, or that there is none, or has waited long enough.
    pub(crate) async fn wait_for_discovery(&self) {
        join_all(self.awaited.iter().map(InitialResolution::wait)).await;
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.shared.tasks
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            head_timeout: self.config.header_read_timeout,
            idle_timeout: self.config.idle_timeout,
            write_timeout: self.config.write_timeout,
            max_connections: self.config.max_connections,
        }
    }
}
