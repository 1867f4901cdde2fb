//! Metrics, the log of the process, and the access log.
//!
//! Each gateway owns its [`Metrics`]. The log belongs to the process, and `main` installs it. The crate knows the words of
//! `bff-context` that label a series, and nothing of HTTP. Read `metrics.rs` first, then `logs.rs` and `access_log.rs`.

pub use access_log::AccessLogRecord;
pub use metrics::Metrics;

pub mod access_log;
pub mod logs;
pub mod metrics;
