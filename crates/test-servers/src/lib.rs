//! Processes and servers of tests: Redis, a Redis cluster, any other program, a minimal backend; and free ports. Only
//! dev-dependencies name this package. A test fails if its server does not start, so nothing here returns an error.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails if its server does not start"
)]

pub use free_ports::{free_base, free_port};
pub use http::{is_listening, request, try_request};
pub use process::{ExitResult, Process, find, run};
pub use redis::{RedisServer, ask};
pub use redis_cluster::RedisCluster;
pub use stub::start_stub;

mod free_ports;
mod http;
mod process;
mod redis;
mod redis_cluster;
mod stub;
