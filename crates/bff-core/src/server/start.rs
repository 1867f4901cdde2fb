//! The start of a gateway: arguments, configuration, TLS, routes, log and listeners. Then it serves until it is stopped.

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};

use super::{App, Listeners, Settings, bind, production_checks, serve};
use crate::auth;
use crate::config::{Args, Error, Sources};
use crate::context::Env;
use crate::net::Listener;
use crate::telemetry::logs;

/// One gateway's binary.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The name in `--help` and `--version`.
    pub name: &'static str,
    /// The version.
    pub version: &'static str,
    /// The prefix of its environment variables, without the underscore: `WEB`.
    pub prefix: &'static str,
    /// The built-in configuration, as TOML.
    pub defaults: &'static str,
}

/// The complete configuration of a gateway.
pub trait GatewayConfig: DeserializeOwned + Serialize {
    /// The settings that every gateway has.
    fn settings(&self) -> Settings<'_>;
}

/// Runs a gateway until Ctrl-C or SIGTERM. The exit code is 0 after a drain, or after an option such as `--help` printed
/// its text. It is 64 after a failed start, with one error line on stderr.
pub async fn start<C: GatewayConfig>(
    program: Program,
    app: impl FnOnce(&C, &Env) -> Result<App, String>,
) -> ExitCode {
    match prepare(program, app) {
        Ok(prepared) => Box::pin(run(program, prepared))
            .await
            .map_or_else(|line| exit_with_error(&line), |()| ExitCode::SUCCESS),
        Err(code) => code,
    }
}

/// The synchronous part of the start. The result is boxed because a configuration is large.
fn prepare<C: GatewayConfig>(
    program: Program,
    app: impl FnOnce(&C, &Env) -> Result<App, String>,
) -> Result<Box<(C, App)>, ExitCode> {
    auth::install_crypto();
    let args = Args::from_command_line(program.name, program.version)?;
    let prepared = args.configure(program.prefix, "", program.defaults, |config, sources| {
        build(config, sources, &Env::real(), app)
    });
    prepared.map(Box::new)
}

/// Builds a gateway from the configuration in `sources`, after the production checks. If an error of `app` starts with
/// a key and a colon, the returned error names the source that set this key.
pub fn build<C: GatewayConfig>(
    config: &C,
    sources: &Sources<'_>,
    env: &Env,
    app: impl FnOnce(&C, &Env) -> Result<App, String>,
) -> Result<App, Error> {
    production_checks::check(&config.settings(), sources)?;
    app(config, env).map_err(|line| match line.split_once(": ") {
        Some((key, reason)) => sources.invalid(key, reason),
        None => Error::new(line),
    })
}

async fn run<C: GatewayConfig>(program: Program, prepared: Box<(C, App)>) -> Result<(), String> {
    let (config, app) = *prepared;
    let settings = config.settings();
    logs::install(settings.telemetry)?;
    // Installed before the listeners: a signal right after the start still leads to a drain.
    let stop = stop_signal()?;
    let listeners = bind(settings.server).await?;
    announce(program, &listeners);
    serve(listeners, app, stop).await;
    Ok(())
}

/// Logs the first line: name, version and addresses.
fn announce(program: Program, listeners: &Listeners) {
    let [listen, admin_listen] =
        [&listeners.public, &listeners.admin].map(|listener| match listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::InMemory(_) => None,
        });
    let to_field = |address: Option<SocketAddr>| address.map(tracing::field::display);
    tracing::info!(
        listen = to_field(listen),
        admin_listen = to_field(admin_listen),
        version = program.version,
        "{} is listening",
        program.name
    );
}

/// Resolves on Ctrl-C or SIGTERM. The handlers are installed by this call, not by the first poll.
pub fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    let message = |error: io::Error| format!("cannot install a signal handler: {error}");
    let mut term = signal(SignalKind::terminate()).map_err(message)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(message)?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Prints the error line of a failed start. The exit code is 64.
pub fn exit_with_error(line: &str) -> ExitCode {
    // A closed stderr does not change the exit code.
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::from(Error::EXIT_CODE)
}
