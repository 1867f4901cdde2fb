//! The edge: every request passes it before an endpoint handles it.
//!
//! `middleware` lists the order. `admission` decides whether a request may pass, and for which caller. [`extract`]
//! parses its input.

pub use admission::client_ip::Peer;
pub use admission::load_shed::PriorityClass;
pub use admission::{client_ip, load_shed};
pub use config::Config;
pub use edge::Edge;
pub use endpoints::{Authenticated, EndpointOptions, Endpoints, WriteDetection};
pub use extract::idempotent_request::IdempotentRequest;
pub use extract::{Body, Path, Query};
pub use middleware::connection_activity::{ConnectionActivity, InFlightRequest};
pub use middleware::{layer, reject_malformed};
pub use sse::SseStream;

mod admission;
mod config;
mod edge;
pub mod endpoints;
pub mod extract;
mod middleware;
mod sse;
