//! The mechanism every gateway shares. It knows HTTP, time and identity, and no word of any domain.
//!
//! A gateway is a set of *screens*: tailored answers assembled from *sections*, each from one backend call.
//! The way in is [`inbound`], the way out is [`outbound`]; they never name each other and meet only in
//! [`context::RequestContext`]. What a screen is made of, and what it tells its client about every part, is [`section`].

pub mod action;
pub mod auth;
pub mod cache;
pub mod context;
pub mod discovery;
pub mod error;
#[cfg(feature = "graphql")]
pub mod graphql;
pub mod grpc;
pub mod inbound;
pub mod net;
pub mod openapi;
pub mod outbound;
pub mod rate_limit;
pub mod routes;
pub mod scope;
pub mod section;
pub mod server;
pub mod store;
pub mod telemetry;

pub use bff_config as config;
pub use context::RequestContext;
pub use error::{Code, Error};
pub use outbound::{Failure, Fetched, Reason};
pub use scope::{Caller, Public, Segment};
pub use section::{FieldSelection, Screen, ScreenBuilder};
