//! Starts the tv gateway, and on until told to stop.

use std::process::ExitCode;

use bff_core::server::{Program, start};
use tv_bff::{DEFAULTS, app};

// Linked in place of the system's `malloc`.
use mimalloc as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let program = Program {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        prefix: "TV",
        defaults: DEFAULTS,
    };
    start(program, app).await
}
