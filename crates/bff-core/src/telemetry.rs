//! What a gateway says about itself. Each gateway owns its metrics.

pub use metrics::Metrics;

pub mod metrics;
