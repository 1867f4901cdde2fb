//! How every gateway starts: arguments, configuration, log, TLS, doors, listeners; and on until told to stop.

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
    /// What it is called, in help and version.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What its variables start with, without the underscore: `WEB`.
    pub prefix: &'static str,
    /// The configuration compiled in.
    pub defaults: &'static str,
}

/// A gateway's whole configuration. The core reads the part that every gateway has.
pub trait GatewayConfig: DeserializeOwned + Serialize {
    /// That part.
    fn settings(&self) -> Settings<'_>;
}

/// Runs a gateway until Ctrl-C or SIGTERM. Its exit code is 0 when it was served and drained, or when what the
/// command line asked for was printed; 64 when it could not start, and one line said why.
pub async fn start<C: GatewayConfig>(
    program: Program,
    app: impl FnOnce(&C, &Env) -> Result<App, String>,
) -> ExitCode {
    match prepare(program, app) {
        Ok(ready) => Box::pin(run(program, ready))
            .await
            .map_or_else(|line| exit_with_error(&line), |()| ExitCode::SUCCESS),
        Err(code) => code,
    }
}

/// All that needs no waiting; in a box, for a configuration is large.
fn prepare<C: GatewayConfig>(
    program: Program,
    app: impl FnOnce(&C, &Env) -> Result<App, String>,
) -> Result<Box<(C, App)>, ExitCode> {
    auth::install_crypto();
    let args = Args::from_command_line(program.name, program.version)?;
    let ready = args.configure(program.prefix, "", program.defaults, |config, sources| {
        build(config, sources, &Env::real(), app)
    });
    ready.map(Box::new)
}

/// Builds a gateway from the configuration that `sources` gave, unless production refuses it. A line of `app` that
/// begins with a key and a colon is told who set that key.
pub fn build<C: GatewayConfig>(
    config: &C,
    sources: &Sources<'_>,
    world: &Env,
    app: impl FnOnce(&C, &Env) -> Result<App, String>,
) -> Result<App, Error> {
    production_checks::check(&config.settings(), sources)?;
    app(config, world).map_err(|line| match line.split_once(": ") {
        Some((key, why)) => sources.invalid(key, why),
        None => Error::new(line),
    })
}

async fn run<C: GatewayConfig>(program: Program, ready: Box<(C, App)>) -> Result<(), String> {
    let (config, app) = *ready;
    let settings = config.settings();
    logs::install(settings.telemetry)?;
    // Before anyone can know that it runs: told to stop at once, it still drains.
    let stop = stop_signal()?;
    let listeners = bind(settings.server).await?;
    announce(program, &listeners);
    serve(listeners, app, stop).await;
    Ok(())
}

/// The first line of the log: what runs, and where it can be reached.
fn announce(program: Program, listeners: &Listeners) {
    let [listen, admin_listen] = [&listeners.public, &listeners.admin].map(|accept| match accept {
        Listener::Tcp(listener) => listener.local_addr().ok(),
        Listener::InMemory(_) => None,
    });
    let shown = |address: Option<SocketAddr>| address.map(tracing::field::display);
    tracing::info!(
        listen = shown(listen),
        admin_listen = shown(admin_listen),
        version = program.version,
        "{} listens",
        program.name
    );
}

/// Resolves on Ctrl-C or SIGTERM. Both are listened for from now on, not only from the first poll.
pub fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    let refused = |error: io::Error| format!("cannot listen for signals: {error}");
    let mut term = signal(SignalKind::terminate()).map_err(refused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Prints the one line about a start that failed; exit code 64.
pub fn exit_with_error(line: &str) -> ExitCode {
    // A closed terminal is no reason to answer anything else.
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::from(Error::EXIT_CODE)
}
