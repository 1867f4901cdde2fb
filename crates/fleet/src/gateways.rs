//! The gateways of this workspace: one line each.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bff_core::config::Sources;
use bff_core::context::Env;
use bff_core::gateway::{self, AnyGateway, GatewayState};
use bff_core::server::{self, App};
use toml::Table;

use crate::toml_tables::{merge, parse, section};

/// Every gateway, in the order of its port.
pub static GATEWAYS: &[Gateway] = &[
    Gateway::of(&web_bff::GATEWAY),
    Gateway::of(&mobile_bff::GATEWAY),
    Gateway::of(&tv_bff::GATEWAY),
    Gateway::of(&partner_bff::GATEWAY),
];

/// The part of a gateway that the fleet uses.
pub struct Gateway {
    /// The client class.
    pub name: &'static str,
    /// The text of its `config.toml`.
    pub config: &'static str,
    descriptor: &'static dyn AnyGateway,
}

/// The kind of callers of a gateway, which determines the accepted credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// People, with the bearer token of a sign-in.
    People,
    /// Other companies' programs, with an API key.
    Partners,
}

/// A built gateway that does not serve yet.
pub struct BuiltGateway {
    /// The gateway.
    pub app: App,
    /// The address that its configuration names, after all layers.
    pub server: server::Config,
}

impl Gateway {
    const fn of<U: GatewayState>(gateway: &'static gateway::Gateway<U>) -> Self {
        Self {
            name: gateway.name,
            config: gateway.config,
            descriptor: gateway,
        }
    }

    /// Its number in the list. Its ports are the first gateway's plus this number.
    pub fn number(&self) -> u16 {
        let number = GATEWAYS.iter().position(|g| g.name == self.name);
        u16::try_from(number.unwrap_or_default()).unwrap_or_default()
    }

    /// The prefix of its environment variables, without the underscore: `WEB`.
    pub fn prefix(&self) -> String {
        self.name.to_uppercase()
    }

    /// The compiled-in configuration: the core defaults under its own keys.
    pub fn defaults(&self) -> Result<&Table, String> {
        static MERGED: LazyLock<BTreeMap<&str, Result<Table, String>>> = LazyLock::new(|| {
            let merged = GATEWAYS.iter().map(|g| (g.name, g.merged()));
            merged.collect()
        });
        match MERGED.get(self.name) {
            Some(merged) => merged.as_ref().map_err(Clone::clone),
            None => Err(format!("{} is not in the list", self.name)),
        }
    }

    fn merged(&self) -> Result<Table, String> {
        let mut table = parse(gateway::DEFAULTS, "the core defaults")?;
        merge(&mut table, parse(self.config, "the gateway's defaults")?);
        Ok(table)
    }

    /// The names of its backends in configuration.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        let defaults = self.defaults().ok();
        let upstreams = defaults.and_then(|defaults| section(defaults, "upstreams"));
        upstreams.into_iter().flatten().map(|(name, _)| &**name)
    }

    /// The kind of its callers: people if its configuration names an issuer of bearer tokens, else partners.
    pub fn callers(&self) -> Callers {
        let defaults = self.defaults().ok();
        let auth = defaults.and_then(|defaults| section(defaults, "auth"));
        match auth {
            Some(auth) if !auth.contains_key("jwks") => Callers::Partners,
            _ => Callers::People,
        }
    }

    /// Reads its configuration and builds it. `overlay` and `env` override the compiled-in configuration. The error is one
    /// line.
    pub fn open(
        &self,
        overlay: &str,
        env: Vec<(String, String)>,
        runtime: &Env,
    ) -> Result<BuiltGateway, String> {
        let prefix = self.prefix();
        let sources = Sources {
            prefix: &prefix,
            core_defaults: gateway::DEFAULTS,
            defaults: self.config,
            overlay: Some(overlay),
            file: None,
            env,
        };
        let opened = self.descriptor.open(&sources, runtime);
        let (app, server) = opened.map_err(|error| error.to_string())?;
        Ok(BuiltGateway { app, server })
    }
}
