//! Starts a gateway's program: arguments, configuration, log, TLS and listeners. Then it serves until a signal.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::{DEFAULTS, Gateway, GatewayConfig, GatewayState, log_warnings};
use crate::auth;
use crate::config::{Args, Configured};
use crate::context::Env;
use crate::net::Listener;
use crate::server::{App, Listeners, bind, exit_with_error, serve, stop_signal};
use crate::telemetry::logs;

/// The package of a program.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its name, in `--help`, `--version` and the log.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// Runs a gateway until Ctrl-C or SIGTERM. The exit code is 0 after a drain, or after an option such as `--help` printed
/// its text. It is 64 after a failed start, with one error line on stderr.
pub fn run<U: GatewayState>(gateway: &Gateway<U>, package: Package) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return exit_with_error(&format!("cannot start the runtime: {error}")),
    };
    runtime.block_on(async {
        match prepare(gateway, package) {
            Ok(ready) => Box::pin(serve_until_stopped(package, ready))
                .await
                .map_or_else(|line| exit_with_error(&line), |()| ExitCode::SUCCESS),
            Err(code) => code,
        }
    })
}

/// A gateway that is built and not yet served.
type Ready<U> = Configured<GatewayConfig<U>, App>;

/// The steps that need no waiting.
fn prepare<U: GatewayState>(gateway: &Gateway<U>, package: Package) -> Result<Ready<U>, ExitCode> {
    auth::install_crypto();
    let args = Args::from_command_line(package.name, package.version)?;
    let prefix = gateway.name.to_uppercase();
    args.configure(&prefix, DEFAULTS, gateway.config, |config, sources| {
        gateway.build(config, sources, &Env::real())
    })
}

async fn serve_until_stopped<U: GatewayState>(
    package: Package,
    ready: Ready<U>,
) -> Result<(), String> {
    let config = ready.config;
    let _log = logs::install(&config.telemetry)?;
    log_warnings(&ready.warnings);
    // Installed before the listeners: a signal right after the start still leads to a drain.
    let stop = stop_signal()?;
    let listeners = bind(&config.server).await?;
    announce(package, &listeners);
    serve(listeners, ready.output, stop).await;
    Ok(())
}

/// Logs the first line: name, version and addresses.
fn announce(package: Package, listeners: &Listeners) {
    let [listen, admin_listen] =
        [&listeners.public, &listeners.admin].map(|listener| match listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::InMemory(_) => None,
        });
    let to_field = |address: Option<SocketAddr>| address.map(tracing::field::display);
    tracing::info!(
        listen = to_field(listen),
        admin_listen = to_field(admin_listen),
        version = package.version,
        "{} is listening",
        package.name
    );
}
