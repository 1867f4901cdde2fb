//! Proxy routes: paths whose requests are forwarded to a backend, declared in the configuration.
//!
//! They are the router's fallback, with their own table of prefixes, so the path of a screen always wins. Bodies stream
//! in both directions. Backend responses are forwarded unchanged. If the backend does not answer, the response is a
//! problem document (RFC 9457). As for a screen, the edge checks each request first, and `bff-upstream`
//! applies the policies of the backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::outbound::Upstream;

pub use config::{Config, Credential, Host};
pub(crate) use handler::{ProxiedResponse, fallback};
pub(crate) use http_cache::matches_etag;
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

/// The routes `[routes.NAME]`, by name.
pub type Configs = BTreeMap<String, Config>;

/// Creates the table of all routes. The error is one line that begins with the wrong key.
pub(crate) fn open(
    configs: &Configs,
    upstreams: &BTreeMap<&'static str, Upstream>,
    context: RouteContext,
) -> Result<Table, String> {
    let context = Arc::new(context);
    let mut table = Table::default();
    for (name, config) in configs {
        (config.check()).map_err(|line| format!("routes.{name}.{line}"))?;
        let upstream = upstreams.get(config.upstream.as_str()).ok_or_else(|| {
            let names: Vec<&str> = upstreams.keys().copied().collect();
            let (unknown, names) = (&config.upstream, names.join(", "));
            format!(
                "routes.{name}.upstream: unknown upstream {unknown:?}; this gateway has {names}"
            )
        })?;
        let route = Arc::new(Route::new(config, upstream, &context));
        for prefix in &config.prefixes {
            let entry = Entry::new(prefix, config, route.clone());
            table
                .add(prefix, entry)
                .map_err(|_| format!("routes.{name}.prefixes: duplicate prefix {prefix:?}"))?;
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
