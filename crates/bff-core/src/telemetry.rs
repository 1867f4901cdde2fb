//! What a gateway says about itself: metrics and logs. Each gateway owns its instruments.

pub use metrics::Metrics;

pub mod metrics;
