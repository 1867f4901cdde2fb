//! Pass-through routes: addresses that a backend answers itself, declared in configuration.
//!
//! They are the router's fallback over a table of prefixes of their own, so that a screen's own address always wins.
//! Bodies stream both ways. What a backend says passes as it is; what fails before it says anything is a problem of
//! ours. Everything else holds as for a screen: the edge lets a request in, and `outbound` passes it on under the
//! policies of its backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::outbound::Upstream;

pub use config::{Config, Credential, Host};
pub(crate) use handler::{ProxiedResponse, fallback};
pub(crate) use route::{Route, RouteContext, RouteLimits};
pub(crate) use table::{Entry, Table};

mod admit;
mod body;
mod case_conversion;
mod config;
mod forwarded;
mod handler;
mod headers;
mod http_cache;
mod path;
mod response;
mod route;
mod table;
mod v1_format;
mod websocket;
mod write_completion;

/// `[routes.NAME]` by name.
pub type Configs = BTreeMap<String, Config>;

/// The table of all routes. The error is one line that begins with the key of the mistake.
pub(crate) fn open(
    configs: &Configs,
    upstreams: &BTreeMap<&'static str, Upstream>,
    around: RouteContext,
) -> Result<Table, String> {
    let around = Arc::new(around);
    let mut table = Table::default();
    for (name, config) in configs {
        (config.check()).map_err(|line| format!("routes.{name}.{line}"))?;
        let upstream = upstreams.get(config.upstream.as_str()).ok_or_else(|| {
            let known: Vec<&str> = upstreams.keys().copied().collect();
            let (wanted, known) = (&config.upstream, known.join(", "));
            format!("routes.{name}.upstream: {wanted:?} is no HTTP backend of this gateway, which are {known}")
        })?;
        let route = Arc::new(Route::new(config, upstream, &around));
        for prefix in &config.prefixes {
            let entry = Entry::new(prefix, config, route.clone());
            table.add(prefix, entry).map_err(|_| {
                format!("routes.{name}.prefixes: {prefix:?} stands twice, and only one route could answer it")
            })?;
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
