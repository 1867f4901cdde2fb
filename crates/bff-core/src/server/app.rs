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
use super::known::Known;
use super::readiness::Readiness;
use super::{Config, admin, pages};
use crate::action::Writes;
use crate::auth::{self, Authenticator};
use crate::cache::{self, Cache};
use crate::config::{self, Mode};
use crate::context::{Shared, World};
use crate::discovery::First;
use crate::error::Code;
use crate::inbound::shed::Shed;
use crate::inbound::{self, Doors, Edge};
use crate::outbound::{self, Upstream};
use crate::routes::{self, Around};
use crate::store::{self, Seal, Store};
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
pub struct Gateway<'a> {
    name: &'static str,
    settings: Settings<'a>,
    shared: Arc<Shared>,
    auth: Authenticator,
    store: Store,
    seal: Seal,
    /// Those that answer over HTTP, for the routes that pass requests on.
    upstreams: Mutex<BTreeMap<&'static str, Upstream>>,
    /// Whose instances start-up waits to know, and who is shown to operators when something is wrong with it.
    known: Mutex<Vec<Known>>,
    codes: &'static [Code],
    docs: bool,
}

impl<'a> Gateway<'a> {
    /// Begins a gateway for the client class `name`.
    pub fn open(name: &'static str, settings: Settings<'a>, world: &World) -> Result<Self, String> {
        let world = world.named(name);
        let store = Store::open(settings.store, &world)?;
        let shared = Arc::new(Shared {
            client: HeaderValue::from_static(name),
            cache: Cache::over(settings.cache, &world, name, &store),
            world,
            tasks: TaskTracker::new(),
            leaving: CancellationToken::new(),
            metrics: crate::telemetry::Metrics::new(name)?,
            fields: section::fields::Known::default(),
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
            known: Mutex::new(vec![Known::Keys(auth.clone())]),
            auth,
            store,
            seal: Seal::open(settings.store, &shared.world)?,
            shared,
            upstreams: Mutex::default(),
            codes: &[],
            docs: !settings.mode.is_production(),
        })
    }

    /// The memory of its writes. [`Self::codes`] come before it: a refusal is told again with its own.
    pub fn writes(&self) -> Writes {
        Writes::new(
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
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// What all parts of this gateway share.
    pub fn shared(&self) -> &Arc<Shared> {
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
        self.known.lock().push(Known::Http(upstream.clone()));
        Ok(upstream)
    }

    /// A backend of this gateway that speaks gRPC.
    pub fn grpc_upstream(
        &self,
        name: &'static str,
        config: &outbound::Config,
    ) -> Result<grpc::Upstream, String> {
        let upstream = grpc::Upstream::new(name, config, &self.shared)?;
        self.known.lock().push(Known::Grpc(upstream.clone()));
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
    pub fn finish<S>(
        self,
        doors: Doors<S>,
        state: S,
        config: &impl Serialize,
    ) -> Result<App, String>
    where
        S: Clone + Send + Sync + 'static,
    {
        let (router, api, table) = doors.into_parts(state);
        let inbound = self.settings.inbound;
        let limits = rate_limit::Limits::open(&inbound.limits, self.store.clone(), &self.shared)?;
        let api = openapi::complete(api, self.settings.auth, self.settings.routes, &limits);
        let text = api.to_pretty_json().map_err(|error| error.to_string())?;
        let readiness = Readiness::new(self.shared.leaving.clone());
        let around = Around {
            trusted: inbound.trusted_proxies.clone(),
            max_body_bytes: inbound.max_body_bytes,
            leaving: readiness.leaving(),
        };
        let passed = routes::open(self.settings.routes, &self.upstreams.lock(), around)?;
        let edge = Arc::new(Edge {
            routes: passed,
            shed: Shed::new(&inbound.shed, &self.shared)?,
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
        let mut router = router.merge(pages::router(readiness.clone(), text, self.codes));
        if self.docs {
            router = router.merge(openapi::reference(api.clone()));
        }
        let router = router.fallback(routes::answer);
        let metrics = self.shared.metrics.clone();
        let known = self.known.into_inner();
        let awaited = known.iter().filter_map(Known::first).collect();
        let backends = known
            .iter()
            .filter(|known| !matches!(known, Known::Keys(_)));
        let names = backends.map(Known::name).collect();
        Ok(App {
            name: self.name,
            router: inbound::protect(&edge, router)?,
            admin: admin::router(
                admin::Shows::new(readiness.clone(), self.store, known),
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
    shared: Arc<Shared>,
    awaited: Vec<First>,
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
    pub(crate) async fn knows_its_backends(&self) {
        join_all(self.awaited.iter().map(First::came)).await;
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.shared.tasks
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            head_timeout: self.config.head_timeout,
            idle_timeout: self.config.idle_timeout,
            write_timeout: self.config.write_timeout,
            max_connections: self.config.max_connections,
        }
    }
}
