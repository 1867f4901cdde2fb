//! The gRPC channel of one instance, over a real or an in-memory network.

use std::io;
use std::time::Duration;

use tokio::time::timeout;
use tonic::codegen::http::uri::{Authority, PathAndQuery};
use tonic::transport::{Channel, Endpoint};
use tower::{BoxError, Service as _};

use crate::clients::trust_roots::TrustRoots;
use crate::config::Config;
use bff_runtime::net::{Connector, Net};

/// The interval of HTTP/2 keep-alive pings while calls are in flight.
///
/// Without pings, a lost peer would cost every call its timeout, and every stream its idle timeout, until TCP gives up.
/// There are no pings without calls in flight, because many servers treat them as abuse. After an idle time the first
/// call sends a ping at once, so a dead connection costs only that call.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Creates the channel of the instance at `address`. It connects with the first call.
///
/// It uses the project's own connector, also for TLS, so that gRPC works over the in-memory network of a simulation.
pub(super) fn channel(
    config: &Config,
    net: &Net,
    address: &Authority,
    trust_roots: &TrustRoots,
) -> Channel {
    let connect_timeout = config.connect_timeout;
    let tls = trust_roots
        .connector()
        .https_or_http()
        .enable_http2()
        .wrap_connector(Connector::new(net.clone(), connect_timeout).with_address(address.clone()));
    let connector = tower::service_fn(move |uri: http::Uri| {
        let connecting = tls.clone().call(uri);
        async move {
            // The timeout includes the TLS handshake. tonic itself has none and makes one connection at a time.
            let result = timeout(connect_timeout, connecting).await;
            result.unwrap_or_else(|_| Err(BoxError::from(io::Error::from(io::ErrorKind::TimedOut))))
        }
    });
    // Cannot fail, because the URL was parsed before. With the default URI every call would fail.
    let uri = (config.url.absolute(PathAndQuery::from_static("/"))).unwrap_or_default();
    Endpoint::from(uri)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(config.attempt_timeout)
        .connect_with_connector_lazy(connector)
}
