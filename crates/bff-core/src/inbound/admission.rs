//! Decides whether a request may pass the edge, and for which caller.
//!
//! The order is that of `middleware`: IP filter and per-IP rate limit, load shedding,
//! authentication, the caller's rate limits.

pub(in crate::inbound) mod authenticate;
pub mod client_ip;
pub(in crate::inbound) mod client_scheme;
pub(in crate::inbound) mod ip_filter;
pub mod load_shed;
mod rate_limit;
