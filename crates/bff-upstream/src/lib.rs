//! One call to one backend: the call builder, the resilience policies, load balancing, service discovery, and the clients
//! for HTTP and gRPC.
//!
//! It knows no route, no screen and no client of the gateway. Read `upstream.rs` first: [`Upstream::send`] makes every
//! call. `policies/pipeline.rs` lists the policies around an attempt, outermost first. An upstream owns its cache and its
//! metrics.

mod attempt;
mod base_url;
mod call;
mod clients;
mod config;
mod decode;
pub mod endpoints;
mod forward;
mod gateway_handles;
pub mod grpc;
pub mod policies;
#[cfg(test)]
mod tests;
mod upstream;

pub use base_url::BaseUrl;
pub use call::Call;
pub use clients::replay_body::RequestBody;
pub use clients::response_body::read_limited as read_response;
pub use clients::stream::InstanceClients;
pub use clients::trust_roots::install_tls_provider;
pub use config::Config;
pub use decode::{omit_failed, omit_undecodable, omit_undecodable_or_null};
pub use forward::{ClientBodyError, ForwardRequest, ForwardResponse, RetryPolicy, forward};
pub use gateway_handles::GatewayHandles;
pub use policies::in_flight_guard::InFlightGuard;
pub use upstream::Upstream;
