//! The data of one request: context, deadline, caller, scope, ids, failure and provenance.
//!
//! It is plain data: it has no service, no cache and no metric, and it sends no request. Read `context.rs`
//! first, then `scope.rs` and `error.rs`. Gateways see these types through `bff-core`, without [`trusted`].

pub mod context;
pub mod error;
pub mod field_value;
pub mod scope;
pub mod trusted;

/// For the expansion of [`id!`].
#[doc(hidden)]
pub use utoipa;
