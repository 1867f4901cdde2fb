//! Mocks of the shop's eight backends, with their own data, real state and faults on demand.
//!
//! [`Mocks`] holds one set of all eight. [`connection`] serves one connection over any byte stream (a socket, an
//! in-memory pipe), and [`serve`] is the accept loop. The first lines of each backend's file describe its API, and those of
//! `control.rs` the API of the control port.
//!
//! Time comes from tokio's clock and random numbers from the seed, so a run over pipes is reproducible.

mod auth;
mod backend;
mod call_recorder;
mod caller;
mod catalogue;
mod clock;
mod connection;
mod control;
mod faults;
mod idempotency;
mod inventory;
mod middleware;
mod mocks;
mod order;
mod paging;
mod payment;
mod playback;
mod product;
mod response;
mod review;
mod seeded_rng;
mod state;
mod stats;
mod user;
mod users;

pub use backend::{Backend, UnknownBackend};
pub use call_recorder::CallEvent;
pub use connection::{connection, control_connection, serve, serve_control};
pub use faults::{Fault, Mode};
pub use mocks::Mocks;
pub use state::Options;
pub use stats::Stats;

#[cfg(test)]
mod tests;
