//! The HTTP server: the accept loop, the admin port, and graceful shutdown.
//!
//! The caller binds the listeners and decides when to stop: [`serve`] takes [`Listeners`], an [`App`] and a future.

pub use app::{App, Contract};
pub use builder::{GatewayBuilder, Settings};
pub use config::Config;
pub use process::{exit_with_error, stop_signal};
pub use serve::{Listeners, bind, cannot_listen, serve};

mod accept;
mod admin;
mod app;
mod builder;
mod config;
mod dependencies;
mod header_timeout;
mod linger;
mod process;
mod readiness;
mod request_body;
mod serve;
mod system_endpoints;
