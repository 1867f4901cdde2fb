//! What a gateway says about itself. Each gateway owns its metrics; the log is the process's, installed by `main`.
//!
//! [`metrics`] are what a scrape reads, [`access`] is the one line each request leaves, [`logs`] is how a line is
//! written.

pub use access_log::AccessLogRecord;
pub use metrics::Metrics;

pub mod access_log;
pub mod logs;
pub mod metrics;
