//! The eight backends of the shop, faked: own data, real state, faults on demand.
//!
//! [`Mocks`] holds one set of all eight. [`connection`] serves one connection over anything that reads
//! and writes (a socket, an in-memory pipe); [`serve`] is the accept loop over it. The wire of each
//! backend is written down at the top of its file, the control port in `control.rs`.
//!
//! Time comes from tokio's clock and chance from the seed, so that a run on pipes replays.

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
mod mocks;
mod order;
mod paging;
mod payment;
mod playback;
mod product;
mod response;
mod review;
mod seeded_rng;
mod stats;
mod user;
mod users;
mod world;

pub use backend::{Backend, UnknownBackend};
pub use call_recorder::CallEvent;
pub use connection::{connection, control_connection, serve, serve_control};
pub use faults::{Fault, Mode};
pub use mocks::{Mocks, Options};
pub use stats::Stats;

#[cfg(test)]
mod tests;
