//! One call to one backend: the call builder, the resilience policies, load balancing, service discovery, and the clients
//! for HTTP and gRPC.
//!
//! It knows no route, no screen and no client of the gateway. Read `outbound.rs` first: [`outbound::Upstream::send`] is
//! the way of every call. `outbound/policy.rs` lists the policies around an attempt, outermost first. An upstream owns its
//! cache and its metrics.

pub mod discovery;
pub mod grpc;
pub mod outbound;
