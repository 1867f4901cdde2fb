//! Metrics and logs. Each gateway has its own metrics. The process has one log, which `main` installs.
//!
//! [`metrics`] has the Prometheus metrics, [`access_log`] the log line of each request, and [`logs`] the format and the
//! output of the log.

pub use access_log::AccessLogRecord;
pub use metrics::Metrics;

pub mod access_log;
pub mod logs;
pub mod metrics;
