//! The resilience policies. Each one is a state machine in its own file. [`pipeline`] applies them in order.

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
pub mod deadline_filter;
pub mod hedge;
pub(crate) mod in_flight_guard;
pub mod latency;
pub mod outcome;
pub mod outlier_detection;
pub mod pipeline;
pub mod policy;
pub mod retry;
mod retry_delay;
