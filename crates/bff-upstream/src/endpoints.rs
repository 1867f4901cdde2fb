//! The instances of a backend: service discovery finds them, and load balancing chooses one for each attempt.

pub mod balance;
pub mod discovery;
pub mod endpoint;
