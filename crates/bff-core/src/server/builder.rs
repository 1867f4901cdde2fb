//! Builds a gateway: its routes behind the edge middleware, its system endpoints and its admin port.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::app::{App, Contract};
use super::config::Config;
use super::dependencies::Dependency;
use super::readiness::Readiness;
use super::{admin, system_endpoints};
use crate::GatewayHandles;
use crate::action::{Completion, IdempotentWrites};
use crate::auth::{self, Authenticator};
use crate::cache;
use crate::config::Mode;
use crate::error::Code;
use crate::inbound::load_shed::LoadShedder;
use crate::inbound::{self, Edge, Endpoints};
use crate::net::Env;
use crate::outbound::{self, Upstream};
use crate::routes::{self, RouteContext};
use crate::section::fields::FieldCache;
use crate::store::{self, RecordCipher, Store};
use crate::telemetry::logs;
use crate::{grpc, openapi, rate_limit};

/// The part of a gateway's configuration that this crate reads.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Production or development.
    pub mode: Mode,
    /// Listeners and timeouts.
    pub server: &'a Config,
    /// The edge middleware.
    pub inbound: &'a inbound::Config,
    /// Authentication.
    pub auth: &'a auth::Config,
    /// Logs.
    pub telemetry: &'a logs::Config,
    /// Proxy routes.
    pub routes: &'a routes::Configs,
    /// The cache of backend responses.
    pub cache: &'a cache::Config,
    /// The state that replicas share.
    pub store: &'a store::Config,
}

/// Builds a gateway from its name and settings.
#[derive(Debug)]
pub struct GatewayBuilder<'a> {
    name: &'static str,
    settings: Settings<'a>,
    shared: Arc<GatewayHandles>,
    auth: Authenticator,
    store: Store,
    cipher: RecordCipher,
    /// The HTTP backends, for the proxy routes.
    upstreams: Mutex<BTreeMap<&'static str, Upstream>>,
    /// The start waits for their service discovery. `/readyz` shows their problems.
    dependencies: Mutex<Vec<Dependency>>,
    codes: &'static [Code],
}

impl<'a> GatewayBuilder<'a> {
    /// Starts a gateway for the client class `name`. The error is one line.
    pub(crate) fn open(
        name: &'static str,
        codes: &'static [Code],
        settings: Settings<'a>,
        env: &Env,
    ) -> Result<Self, String> {
        let env = env.fork(name);
        let store = Store::open(settings.store, &env)?;
        let shared = Arc::new(GatewayHandles::open(name, env, settings.cache, &store)?);
        let cache = shared.cache.clone();
        cache.follow(&store);
        shared.metrics.gauge(
            "bff.cache.bytes",
            "Bytes of backend responses cached in this process.",
            move || cache.bytes(),
        );
        let auth = Authenticator::new(settings.auth, &shared);
        let auth = auth.map_err(|line| format!("auth.{line}"))?;
        Ok(Self {
            name,
            settings,
            dependencies: Mutex::new(vec![Dependency::Jwks(auth.clone())]),
            auth,
            store,
            cipher: RecordCipher::open(settings.store, &shared.env)?,
            shared,
            upstreams: Mutex::default(),
            codes,
        })
    }

    /// The idempotent writes of this gateway.
    pub fn writes(&self) -> IdempotentWrites {
        IdempotentWrites::new(
            self.store.clone(),
            self.cipher.clone(),
            self.codes,
            &self.shared.client,
            &self.shared.tasks,
        )
    }

    /// Runs writes to their end.
    pub fn completion(&self) -> Completion {
        Completion::new(&self.shared.tasks)
    }

    /// The store that replicas share.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Encrypts secrets before they go into the store.
    pub fn cipher(&self) -> &RecordCipher {
        &self.cipher
    }

    /// The handles that all parts of this gateway share.
    pub fn shared(&self) -> &Arc<GatewayHandles> {
        &self.shared
    }

    /// Adds an HTTP backend.
    pub fn upstream(
        &self,
        name: &'static str,
        config: &outbound::Config,
    ) -> Result<Upstream, String> {
        let upstream = Upstream::new(name, config, &self.shared)?;
        self.upstreams.lock().insert(name, upstream.clone());
        self.dependencies
            .lock()
            .push(Dependency::Http(upstream.clone()));
        Ok(upstream)
    }

    /// Adds a gRPC backend.
    pub fn grpc_upstream(
        &self,
        name: &'static str,
        config: &outbound::Config,
    ) -> Result<grpc::Upstream, String> {
        let upstream = grpc::Upstream::new(name, config, &self.shared)?;
        self.dependencies
            .lock()
            .push(Dependency::Grpc(upstream.clone()));
        Ok(upstream)
    }

    /// Builds the gateway. The admin port shows the complete configuration as `print_config` returns it.
    pub(crate) fn build<S>(
        self,
        endpoints: Endpoints<S>,
        state: S,
        print_config: impl Fn() -> String + Clone + Send + Sync + 'static,
        public_docs: bool,
    ) -> Result<App, String>
    where
        S: Clone + Send + Sync + 'static,
    {
        let sdl = endpoints.sdl();
        let (router, api, options) = endpoints.into_parts(state, self.completion());
        let inbound = self.settings.inbound;
        let GatewayHandles {
            client,
            env,
            metrics,
            ..
        } = &*self.shared;
        let limits = &inbound.rate_limits;
        let limits = rate_limit::Limits::open(limits, self.store.clone(), client, env, metrics)?;
        let settings = &self.settings;
        let api = openapi::finalize(api, settings.auth, settings.routes, &limits, self.codes);
        let contract = Contract::new(api.clone());
        let shutdown = CancellationToken::new();
        let readiness = Readiness::new(shutdown.clone());
        let route_context = RouteContext {
            trusted: inbound.trusted_proxies.clone(),
            max_body_bytes: inbound.max_body_bytes,
            shutdown: readiness.shutdown_token(),
            shared: self.shared.clone(),
        };
        let proxy_routes =
            routes::open(self.settings.routes, &self.upstreams.lock(), route_context)?;
        let edge = Arc::new(Edge {
            routes: proxy_routes,
            shedder: LoadShedder::new(&inbound.load_shedding, inbound.deadline, &self.shared)?,
            shared: self.shared.clone(),
            shutdown,
            fields: FieldCache::default(),
            config: inbound.clone(),
            endpoints: options,
            auth: self.auth,
            limits,
            public_url: self.settings.server.public_url.trim_end_matches('/').into(),
        });
        let mut router = router.merge(system_endpoints::router(
            readiness.clone(),
            contract.clone(),
            self.codes,
        ));
        if public_docs || !self.settings.mode.is_production() {
            router = router.merge(openapi::docs_page(api));
        }
        let router = router.fallback(routes::fallback);
        let metrics = self.shared.metrics.clone();
        let dependencies = self.dependencies.into_inner();
        let initial_discoveries = dependencies
            .iter()
            .filter_map(Dependency::initial_discovery)
            .collect();
        let backends = dependencies
            .iter()
            .filter(|dependency| !matches!(dependency, Dependency::Jwks(_)));
        let names = backends.map(Dependency::name).collect();
        Ok(App {
            name: self.name,
            router: inbound::layer(&edge, router)?,
            admin: inbound::reject_malformed(
                admin::router(
                    admin::ReadinessReport::new(readiness.clone(), self.store, dependencies),
                    metrics,
                    print_config,
                )
                .merge(admin::action_router(
                    &self.shared,
                    self.settings.server,
                    names,
                )),
            ),
            contract,
            sdl,
            readiness,
            shared: self.shared,
            initial_discoveries,
            config: self.settings.server.clone(),
        })
    }
}
