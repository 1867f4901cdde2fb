//! A BFF author writes one [`Gateway`]: it names the BFF, its backends and its routes.

use std::sync::Arc;

use crate::config::{self, Error, Mode, Sources};
use crate::context::Env;
use crate::error::Code;
use crate::graphql_config;
use crate::inbound::Endpoints;
use crate::inbound::endpoints::ExtraRoutes;
use crate::server::{self, App, GatewayBuilder};

pub use config_file::GatewayConfig;
pub use run::{Package, run};
pub use upstreams::{
    GatewayPart, GatewayState, NoConfig, ProxyOnly, Transport, UpstreamClient, has_no_keys,
    open_upstream,
};

mod config_file;
mod production_checks;
mod run;
mod upstreams;

/// The keys that all gateways share, each with its unit and reason.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// The function that makes the GraphQL routes of a gateway. Its error stops the start.
pub type GraphQlRoutes<U> = fn(&U, &graphql_config::Config, Mode) -> Result<ExtraRoutes, String>;

/// The description of one gateway. [`main!`](crate::main) turns it into a program.
#[derive(Debug)]
pub struct Gateway<U: GatewayState> {
    /// The client class. It is also the metrics label, and in upper case the prefix of environment variables.
    pub name: &'static str,
    /// The TOML of the keys in which this gateway differs from [`DEFAULTS`].
    pub config: &'static str,
    /// The REST routes.
    pub routes: fn() -> Endpoints<Arc<U>>,
    /// The GraphQL routes. Default: none.
    pub graphql: Option<GraphQlRoutes<U>>,
    /// The error codes of its backends, so that each code has its page. Default: none.
    pub codes: &'static [Code],
    /// Whether production shows the reference page `/docs` too. Default: development only.
    pub public_docs: bool,
}

impl<U: GatewayState> Gateway<U> {
    /// The defaults of the optional fields. It has no name, no configuration and no route of its own.
    pub const DEFAULT: Self = Self {
        name: "",
        config: "",
        routes: no_routes::<U>,
        graphql: None,
        codes: &[],
        public_docs: false,
    };

    /// The gateway, ready to be served, unless production refuses its configuration.
    fn build(
        &self,
        config: &Arc<GatewayConfig<U>>,
        sources: &Sources<'_>,
        env: &Env,
    ) -> Result<App, Error> {
        production_checks::check(&config.settings(), sources)?;
        // A line that begins with a key and a colon gets the source of that key.
        let built = self.assemble(config, env);
        built.map_err(|line| match line.split_once(": ") {
            Some((key, why)) => sources.invalid(key, why),
            None => Error::new(line),
        })
    }

    fn assemble(&self, config: &Arc<GatewayConfig<U>>, env: &Env) -> Result<App, String> {
        let builder = GatewayBuilder::open(self.name, self.codes, config.settings(), env)?;
        let upstreams = U::open(&builder, &config.upstreams, &config.screens)?;
        let mut endpoints = (self.routes)();
        if let Some(graphql) = self.graphql {
            endpoints = endpoints.merge(graphql(&upstreams, &config.graphql, config.mode)?);
        }
        let config = config.clone();
        let print_config = move || config::print(&*config);
        builder.build(
            endpoints,
            Arc::new(upstreams),
            print_config,
            self.public_docs,
        )
    }
}

fn no_routes<U: GatewayState>() -> Endpoints<Arc<U>> {
    Endpoints::new(utoipa::openapi::OpenApi::default())
}

/// A [`Gateway`] without the type of its backends, so that a program can list several gateways.
pub trait AnyGateway: Send + Sync {
    /// Reads the configuration and builds the gateway. Returns the `[server]` table beside it.
    fn open(&self, sources: &Sources<'_>, env: &Env) -> Result<(App, server::Config), Error>;
}

impl<U: GatewayState> AnyGateway for Gateway<U> {
    fn open(&self, sources: &Sources<'_>, env: &Env) -> Result<(App, server::Config), Error> {
        let config: Arc<GatewayConfig<U>> = Arc::new(config::load(sources)?);
        let app = self.build(&config, sources, env)?;
        log_warnings(&config::unknown_variables::<GatewayConfig<U>>(sources)?);
        Ok((app, config.server.clone()))
    }
}

/// Logs the warnings about the configuration.
fn log_warnings(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Makes the program of a gateway: `bff_core::main!(web_bff::GATEWAY);` is the whole `main.rs`.
///
/// The package needs the dependency `mimalloc`, which replaces the system's `malloc`.
#[macro_export]
macro_rules! main {
    ($gateway:path) => {
        // Linked in place of the system's `malloc`.
        use mimalloc as _;

        fn main() -> ::std::process::ExitCode {
            $crate::gateway::run(
                &$gateway,
                $crate::gateway::Package {
                    name: env!("CARGO_PKG_NAME"),
                    version: env!("CARGO_PKG_VERSION"),
                },
            )
        }
    };
}
