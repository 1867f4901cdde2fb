//! The library for backend-for-frontend gateways. It contains no code for a specific business domain.
//!
//! A gateway is a set of *screens*: responses for one client, built from *sections*. Each section comes from one
//! backend call. [`inbound`] handles requests from clients, [`outbound`] calls backends. Neither uses the other; both
//! use [`context::RequestContext`]. [`section`] builds screens and reports the provenance of every section.

pub mod action;
pub mod auth;
pub mod cache;
pub mod discovery;
pub mod gateway;
#[cfg(feature = "graphql")]
pub mod graphql;
pub mod graphql_config;
pub mod grpc;
pub mod inbound;
pub mod openapi;
pub mod outbound;
pub mod rate_limit;
pub mod routes;
pub mod scope;
pub mod section;
pub mod server;
pub mod telemetry;

pub use bff_config as config;
pub use bff_context::{context, error, id};
pub use bff_runtime::net;
pub use bff_store as store;
pub use context::RequestContext;
pub use error::{Code, Error};
pub use gateway::{Gateway, GatewayPart, ProxyOnly, UpstreamClient};
pub use outbound::{Failure, Fetched, GatewayHandles, Reason};
pub use scope::{Caller, Public, Segment};
pub use section::{FieldSelection, Screen, ScreenBuilder};
