//! The environment of a gateway: network, clock, randomness and worker threads. A simulation replaces all of them.
//!
//! It contains no HTTP and no policy. Read `net.rs` first: listeners, connections and the in-memory network. Then
//! `net/env.rs`, the handle that the rest of the program receives.

pub mod net;
