//! One connection to one instance, over whatever the network is.

use std::io;
use std::time::Duration;

use tokio::time::timeout;
use tonic::codegen::http::uri::{Authority, PathAndQuery};
use tonic::transport::{Channel, Endpoint};
use tower::{BoxError, Service as _};

use crate::net::{Connector, Net};
use crate::outbound::{Config, TrustRoots};

/// After how long a silence a call in flight asks whether the connection still stands: a lost peer would otherwise cost
/// every call its whole timeout until TCP gives up, and every conversation its patience. While none is in flight nobody
/// asks, which many a server takes for abuse: the first call after such a silence asks at once, and is all that a dead
/// connection costs.
const PING_AFTER: Duration = Duration::from_secs(5);

/// The channel of the instance at `address`; it connects with the first call. The connector is ours, TLS included, so
/// that a simulation's pipes carry gRPC too.
pub(super) fn channel(
    config: &Config,
    net: &Net,
    address: &Authority,
    trust: &TrustRoots,
) -> Channel {
    let limit = config.connect_timeout;
    let tls = trust
        .connector()
        .https_or_http()
        .enable_http2()
        .wrap_connector(Connector::new(net.clone(), limit).to(address.clone()));
    let connector = tower::service_fn(move |uri: http::Uri| {
        let connecting = tls.clone().call(uri);
        async move {
            // Of the handshake too: tonic waits for one connection at a time, and for ever.
            let done = timeout(limit, connecting).await;
            done.unwrap_or_else(|_| Err(BoxError::from(io::Error::from(io::ErrorKind::TimedOut))))
        }
    });
    // An address was parsed once already; if it did not join, every call would say so.
    let uri = (config.url.absolute(PathAndQuery::from_static("/"))).unwrap_or_default();
    Endpoint::from(uri)
        .http2_keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(config.attempt_timeout)
        .connect_with_connector_lazy(connector)
}
