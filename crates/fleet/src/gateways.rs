//! The gateways there are: one line each.

use bff_core::config::{self, Sources};
use bff_core::context::Env;
use bff_core::server::{self, App};

/// Every gateway, in the order of its port.
pub const GATEWAYS: &[Gateway] = &[
    gateway!(0, web_bff, "web", "WEB", People),
    gateway!(1, mobile_bff, "mobile", "MOBILE", People),
    gateway!(2, tv_bff, "tv", "TV", People),
    gateway!(3, partner_bff, "partner", "PARTNER", Partners),
];

/// One gateway as the fleet knows it.
#[derive(Debug)]
pub struct Gateway {
    /// How far its ports lie above the first gateway's.
    pub place: u16,
    /// The client class.
    pub name: &'static str,
    /// What its variables start with.
    pub prefix: &'static str,
    /// Its compiled-in configuration.
    pub defaults: &'static str,
    /// Who calls it.
    pub callers: Callers,
    /// Reads its configuration and builds it. The error is one line.
    pub open: fn(&Sources<'_>, &Env) -> Result<BuiltGateway, String>,
}

/// Who calls a gateway, and so which credential it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// People, with the bearer token of a sign-in.
    People,
    /// Other companies' programs, with an API key.
    Partners,
}

/// A gateway that is built and not yet served.
pub struct BuiltGateway {
    /// The gateway.
    pub app: App,
    /// Where its configuration says it listens, after all layers.
    pub server: server::Config,
}

/// One gateway: its place, its crate, its name, its prefix, its callers.
macro_rules! gateway {
    ($place:literal, $bff:ident, $name:literal, $prefix:literal, $callers:ident) => {
        Gateway {
            place: $place,
            name: $name,
            prefix: $prefix,
            defaults: $bff::DEFAULTS,
            callers: Callers::$callers,
            open: |sources, world| {
                let config: $bff::Config =
                    config::load(sources).map_err(|error| error.to_string())?;
                let app = server::build(&config, sources, world, $bff::app);
                let app = app.map_err(|error| error.to_string())?;
                let server = config.server;
                Ok(BuiltGateway { app, server })
            },
        }
    };
}
use gateway;
