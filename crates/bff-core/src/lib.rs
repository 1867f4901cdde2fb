//! The library for backend-for-frontend gateways. It contains no code for a specific business domain.
//!
//! A gateway is a set of *screens*: responses for one client, built from *sections*. Each section comes from one
//! backend call. [`inbound`] handles requests from clients, [`outbound`] calls backends. Neither uses the other; both
//! use [`context::RequestContext`]. [`section`] builds screens and reports the provenance of every section.
//!
//! Read `gateway.rs` first, then `inbound/middleware.rs` and `section.rs`.

pub mod action;
pub mod cache;
pub mod gateway;
#[cfg(feature = "graphql")]
pub mod graphql;
pub mod graphql_config;
pub mod inbound;
pub mod openapi;
pub mod outbound;
pub mod routes;
pub mod scope;
pub mod section;
pub mod server;

pub use bff_auth as auth;
pub use bff_config as config;
pub use bff_context::{context, error, id};
pub use bff_rate_limit as rate_limit;
pub use bff_runtime::net;
pub use bff_store as store;
pub use bff_telemetry as telemetry;
pub use bff_upstream::{endpoints::discovery, grpc};
pub use context::RequestContext;
pub use error::{Code, Error};
pub use gateway::{Gateway, GatewayPart, ProxyOnly, UpstreamClient};
pub use outbound::{Failure, Fetched, GatewayHandles, Reason};
pub use scope::{Caller, Public, Segment};
pub use section::{FieldSelection, Screen, ScreenBuilder};
