//! The HTTP clients of one instance, and the bodies that they send and receive.

pub(crate) mod client;
pub(crate) mod replay_body;
pub(crate) mod response_body;
pub(crate) mod stream;
pub(crate) mod trust_roots;
