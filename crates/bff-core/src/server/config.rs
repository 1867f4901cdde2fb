//! The configuration of a gateway's ports, start and shutdown.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Secret;

/// Listen addresses, connection limits and shutdown times of a gateway.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address for clients. The gateways' own configuration uses a loopback address.
    pub listen: SocketAddr,
    /// The address for operators: metrics, readiness, configuration. It must not be public.
    pub admin_listen: SocketAddr,
    /// Allows an `admin_listen` that other machines can reach, for example in a pod whose network admits only
    /// operators. Default false: production then requires a loopback address.
    #[serde(default)]
    pub admin_allow_remote: bool,
    /// The bearer token for changes on the admin port. Read it from a file if you can. Default none: the admin port
    /// refuses all changes.
    #[serde(default)]
    pub admin_token: Option<Secret>,
    /// The URL of this gateway for clients, without a final slash. Problem types are URLs below it.
    pub public_url: String,
    /// Maximum time from the first to the last byte of a request's headers. Default 10s: the slowest phones need 1s,
    /// and a client that needs more than 10s only blocks a connection.
    #[serde(
        default = "Config::default_header_read_timeout",
        with = "crate::config::duration::some"
    )]
    pub header_read_timeout: Duration,
    /// Maximum time of a connection without a request, for HTTP/1.1 and HTTP/2. Default 75s: longer than the idle
    /// timeout of load balancers (60s).
    #[serde(
        default = "Config::idle_timeout",
        with = "crate::config::duration::some"
    )]
    pub idle_timeout: Duration,
    /// Maximum time in which a client reads nothing of a response. After it, the gateway closes the connection
    /// (HTTP/1.1) or the stream (HTTP/2). The time does not run while the response has no data to send. Default 30s: a
    /// phone regains its network within it.
    #[serde(
        default = "Config::write_timeout",
        with = "crate::config::duration::some"
    )]
    pub write_timeout: Duration,
    /// Maximum time for the rest of a request after an early response. The gateway reads and discards it, so that a
    /// client that sends its whole request first gets the response. 0: closes at once. Default 30s, as nginx.
    #[serde(default = "Config::linger_timeout", with = "crate::config::duration")]
    pub linger_timeout: Duration,
    /// Maximum number of open connections, including `WebSocket` connections. Further connections wait in the kernel's
    /// queue. Default 10000: far below the usual limit of open files (65536), which also covers connections to
    /// backends.
    #[serde(default = "Config::max_connections")]
    pub max_connections: usize,
    /// Number of threads for client connections. Default: the number of cores, or the container's CPU limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_threads: Option<NonZeroUsize>,
    /// Time between the stop signal and the close of the listener. Readiness fails during it, and each response asks its
    /// client to leave the connection. Default 5s: longer than a load balancer's check interval.
    #[serde(default = "Config::drain_delay", with = "crate::config::duration")]
    pub drain_delay: Duration,
    /// Maximum time for responses and writes in progress after the listener closed. The server aborts the rest.
    /// Default 10s.
    #[serde(default = "Config::drain_timeout", with = "crate::config::duration")]
    pub drain_timeout: Duration,
}

impl Config {
    fn default_header_read_timeout() -> Duration {
        Duration::from_secs(10)
    }

    fn idle_timeout() -> Duration {
        Duration::from_secs(75)
    }

    fn write_timeout() -> Duration {
        Duration::from_secs(30)
    }

    fn linger_timeout() -> Duration {
        Duration::from_secs(30)
    }

    fn max_connections() -> usize {
        10_000
    }

    fn drain_delay() -> Duration {
        Duration::from_secs(5)
    }

    fn drain_timeout() -> Duration {
        Duration::from_secs(10)
    }
}

/// Limits for the connections of a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Maximum time from the first to the last byte of a request's headers.
    pub(super) header_read_timeout: Duration,
    /// Maximum time of a connection without a request.
    pub(super) idle_timeout: Duration,
    /// Maximum time in which the client reads nothing.
    pub(super) write_timeout: Duration,
    /// Maximum time for the rest of a request after an early response.
    pub(super) linger_timeout: Duration,
    /// Maximum number of connections, including `WebSocket` ones. Others wait in the kernel's bounded queue.
    pub(super) max_connections: usize,
}
