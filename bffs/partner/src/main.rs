//! Starts the partner gateway: configuration, logs, listeners, doors, and on until told to stop.

use std::process::ExitCode;

use bff_core::config::Args;
use bff_core::context::World;
use bff_core::{auth, server, telemetry};
use partner_bff::{Config, DEFAULTS, app};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let read = Args::from_command_line("partner-bff", env!("CARGO_PKG_VERSION"))
        .and_then(|args| args.configure("PARTNER", DEFAULTS, |_: &Config, _| Ok(())));
    match read {
        Ok(config) => run(&config)
            .await
            .map_or_else(|line| server::refuse(&line), |()| ExitCode::SUCCESS),
        Err(code) => code,
    }
}

async fn run(config: &Config) -> Result<(), String> {
    telemetry::logs::install(&config.telemetry)?;
    auth::install_crypto();
    let listeners = server::bind(&config.server).await?;
    let app = app(config, &World::real())?;
    server::serve(listeners, app, server::stop_signal()).await;
    Ok(())
}
