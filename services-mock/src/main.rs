//! The mocks as a process: all backends or some of them, and the control port.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::Parser;
use services_mock::{Backend, Fault, Mocks, Options, serve, serve_control};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The exit code of a configuration error (`EX_USAGE` of sysexits).
const MISCONFIGURED: u8 = 64;
/// The offset of the first backend's port from the base port.
const BACKENDS_OFFSET: u16 = 20;
/// The offset of the control port from the base port.
const CONTROL_OFFSET: u16 = 39;

/// Mocks of the eight backends, with faults on demand
#[derive(Parser)]
#[command(name = "services-mock", version)]
struct Args {
    /// Start only these backends, for instance `product,review`
    #[arg(long, value_delimiter = ',')]
    only: Vec<Backend>,
    /// Use ports N+20 to N+27 for the backends and N+39 for control
    #[arg(long, value_name = "N")]
    base_port: Option<u16>,
    /// The control port [default: 3999, or N+39]
    #[arg(long, value_name = "PORT")]
    control_port: Option<u16>,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// The seed of all random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The issuer of tokens [default: this machine, with the port of auth]
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) if e.use_stderr() => return exit_with_error(&one_line_message(&e)),
        Err(help) => {
            // An error here means that the terminal is closed.
            help.print().ok();
            return ExitCode::SUCCESS;
        }
    };
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => exit_with_error(&message),
    }
}

fn exit_with_error(message: &str) -> ExitCode {
    eprintln!("services-mock: {message}");
    ExitCode::from(MISCONFIGURED)
}

/// The error message in one line, without the usage and the tips.
fn one_line_message(error: &clap::Error) -> String {
    let text = error.to_string();
    let message = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = message.lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

async fn run(args: Args) -> Result<(), String> {
    let issuer = match &args.issuer {
        Some(issuer) => issuer.trim_end_matches('/').to_owned(),
        None => format!("http://127.0.0.1:{}", port(&args, Backend::Auth)?),
    };
    let mocks = Mocks::new(Options {
        seed: args.seed,
        issuer,
        epoch: wall_time(),
    });
    for (backend, fault) in initial_faults()? {
        let result = mocks.set_fault(backend, fault);
        result.map_err(|e| format!("MOCK_FAULTS (environment): {backend}: {e}"))?;
    }

    // Installed before the first log line, so that a signal right after that line also stops the process gracefully.
    let stop_signal = stop_signal()?;
    let mut listeners = Vec::new();
    let is_selected = |b: &Backend| args.only.is_empty() || args.only.contains(b);
    for backend in Backend::ALL.into_iter().filter(is_selected) {
        let bound = bind(&args, port(&args, backend)?, backend.name()).await?;
        listeners.push((backend, bound));
    }
    let control = bind(&args, control_port(&args)?, "control").await?;
    // Logged only after all ports are bound: an unavailable port is the only line on stderr.
    let bound = listeners.iter().map(|(b, bound)| (b.name(), bound));
    for (name, bound) in bound.chain([("control", &control)]) {
        let address = bound.local_addr().map_err(|e| e.to_string())?;
        eprintln!("services-mock: {name} on {address}");
    }

    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    for (backend, listener) in listeners {
        servers.spawn(serve(
            mocks.clone(),
            backend,
            listener,
            wait_for_stop(stopped.clone()),
        ));
    }
    servers.spawn(serve_control(mocks, control, wait_for_stop(stopped)));
    stop_signal.await;
    // Fails only if all servers have ended.
    stop.send(true).ok();
    while servers.join_next().await.is_some() {}
    Ok(())
}

fn port(args: &Args, backend: Backend) -> Result<u16, String> {
    let Some(base) = args.base_port else {
        return Ok(backend.port());
    };
    let index = u16::try_from(backend.index()).unwrap_or_default();
    port_above(base, BACKENDS_OFFSET + index)
}

fn control_port(args: &Args) -> Result<u16, String> {
    match (args.control_port, args.base_port) {
        (Some(port), _) => Ok(port),
        (None, Some(base)) => port_above(base, CONTROL_OFFSET),
        (None, None) => Ok(3999),
    }
}

fn port_above(base: u16, offset: u16) -> Result<u16, String> {
    let port = base.checked_add(offset);
    port.ok_or_else(|| format!("--base-port {base}: must leave room for 40 ports above it"))
}

async fn bind(args: &Args, port: u16, name: &str) -> Result<TcpListener, String> {
    let bound = TcpListener::bind((args.host, port)).await;
    bound.map_err(|e| format!("cannot listen on {}:{port} for {name}: {e}", args.host))
}

/// The faults in the environment: `MOCK_FAULTS='{"review":{"status":503}}'`.
fn initial_faults() -> Result<Vec<(Backend, Fault)>, String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this process has no other configuration"
    )]
    let Ok(text) = std::env::var("MOCK_FAULTS") else {
        return Ok(Vec::new());
    };
    let invalid = |e: String| format!("MOCK_FAULTS (environment): {e}");
    let faults: BTreeMap<String, Fault> =
        serde_json::from_str(&text).map_err(|e| invalid(e.to_string()))?;
    let parsed = faults.into_iter().map(|(name, fault)| {
        let backend = name
            .parse::<Backend>()
            .map_err(|e| invalid(e.to_string()))?;
        Ok((backend, fault))
    });
    parsed.collect()
}

fn wall_time() -> OffsetDateTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only use of the system clock"
    )]
    let now = std::time::SystemTime::now();
    OffsetDateTime::from(now)
}

async fn wait_for_stop(mut stopped: watch::Receiver<bool>) {
    // A closed channel means stop too.
    stopped.wait_for(|stop| *stop).await.ok();
}

/// Resolves on Ctrl-C or SIGTERM. The handlers are installed now, not at the first poll.
fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    let error = |e: std::io::Error| format!("cannot listen for signals: {e}");
    let mut term = signal(SignalKind::terminate()).map_err(error)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(error)?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
