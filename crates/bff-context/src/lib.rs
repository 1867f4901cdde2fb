//! The data of one request: context, deadline, caller, scope, ids, failure and provenance.
//!
//! It is plain data. No service, no cache and no metric is in it, and nothing in it sends a request. Read `context.rs`
//! first, then `scope.rs` and `error.rs`. Gateways see these types through `bff-core`, without [`trusted`].

pub mod context;
pub mod error;
pub mod scope;
pub mod trusted;
