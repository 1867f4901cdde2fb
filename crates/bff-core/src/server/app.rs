//! A gateway that is ready to be served.

use std::sync::{Arc, LazyLock};

use axum::Router;
use futures_util::future::join_all;
use tokio_util::task::TaskTracker;
use utoipa::openapi::OpenApi;

use super::config::{Config, Limits};
use super::readiness::Readiness;
use crate::GatewayHandles;
use crate::discovery::InitialResolution;
use crate::inbound::endpoints::Sdl;

/// A gateway ready to be served.
pub struct App {
    pub(super) name: &'static str,
    pub(super) router: Router,
    pub(super) admin: Router,
    pub(super) contract: Contract,
    pub(super) sdl: Option<Sdl>,
    pub(super) readiness: Readiness,
    pub(super) shared: Arc<GatewayHandles>,
    pub(super) initial_discoveries: Vec<InitialResolution>,
    pub(super) config: Config,
}

/// The OpenAPI document of a gateway as JSON, the content of the committed `openapi.json`.
///
/// The first reader waits for the serialization, because it takes as long as the rest of a start.
#[derive(Clone)]
pub struct Contract(Arc<LazyLock<Result<String, String>, Serialization>>);

type Serialization = Box<dyn FnOnce() -> Result<String, String> + Send>;

impl Contract {
    pub(super) fn new(api: OpenApi) -> Self {
        let serialize: Serialization = Box::new(move || match api.to_pretty_json() {
            Ok(json) => Ok(json + "\n"),
            Err(error) => Err(error.to_string()),
        });
        Self(Arc::new(LazyLock::new(serialize)))
    }

    /// The document, or the error of the serialization.
    pub fn json(&self) -> Result<&str, &str> {
        self.0.as_deref().map_err(String::as_str)
    }
}

impl App {
    /// The client class.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The OpenAPI document.
    pub fn contract(&self) -> Contract {
        self.contract.clone()
    }

    /// The content of the committed `schema.graphql`; `None` without GraphQL routes.
    pub fn graphql_schema(&self) -> Option<String> {
        self.sdl.as_ref().map(|sdl| sdl())
    }

    /// The router of the public port.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// The router of the admin port.
    pub(crate) fn admin_router(&self) -> Router {
        self.admin.clone()
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Waits for the first service discovery result of each dependency, up to a timeout.
    pub(crate) async fn wait_for_discovery(&self) {
        join_all(self.initial_discoveries.iter().map(InitialResolution::wait)).await;
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.shared.tasks
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            header_read_timeout: self.config.header_read_timeout,
            idle_timeout: self.config.idle_timeout,
            write_timeout: self.config.write_timeout,
            linger_timeout: self.config.linger_timeout,
            max_connections: self.config.max_connections,
        }
    }
}
