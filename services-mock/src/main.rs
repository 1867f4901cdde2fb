//! The mocks as a process of their own: some or all backends, and the control port.

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

/// The exit code of a configuration mistake (`EX_USAGE` of sysexits).
const MISCONFIGURED: u8 = 64;
/// With a base port, backends start this far above it.
const BACKENDS_FROM: u16 = 20;
/// With a base port, the control port lies this far above it.
const CONTROL_AT: u16 = 39;

/// The eight fake backends, with faults on demand.
#[derive(Parser)]
#[command(name = "services-mock", version)]
struct Args {
    /// Only these backends, for instance `product,review`
    #[arg(long, value_delimiter = ',')]
    only: Vec<Backend>,
    /// Backends at N+20 to N+27 in the order of the table, control at N+39
    #[arg(long, value_name = "N")]
    base_port: Option<u16>,
    /// The control port [default: 3999, or N+39]
    #[arg(long, value_name = "PORT")]
    control_port: Option<u16>,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// What every draw follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The issuer of tokens [default: this machine, at the port of auth]
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) if e.use_stderr() => return refuse(&one_line(&e)),
        Err(help) => {
            // A closed terminal is no reason to answer anything else.
            help.print().ok();
            return ExitCode::SUCCESS;
        }
    };
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => refuse(&message),
    }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("services-mock: {message}");
    ExitCode::from(MISCONFIGURED)
}

/// What is wrong with the command line, without the usage and the tips below it.
fn one_line(mistake: &clap::Error) -> String {
    let text = mistake.to_string();
    let said = text.strip_prefix("error: ").unwrap_or(&text);
    let said = said.lines().take_while(|line| !line.trim().is_empty());
    said.map(str::trim).collect::<Vec<_>>().join(" ")
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
        let set = mocks.set_fault(backend, fault);
        set.map_err(|e| format!("MOCK_FAULTS (environment): {backend}: {e}"))?;
    }

    // Before anyone can know that it runs: told to stop at once, it still stops in order.
    let asked_to_stop = asked_to_stop()?;
    let mut listeners = Vec::new();
    let asked = |b: &Backend| args.only.is_empty() || args.only.contains(b);
    for backend in Backend::ALL.into_iter().filter(asked) {
        let bound = bind(&args, port(&args, backend)?, backend.name()).await?;
        listeners.push((backend, bound));
    }
    let control = bind(&args, control_port(&args)?, "control").await?;
    // All of it or nothing: a port that is taken is the only line.
    let bound = listeners.iter().map(|(b, bound)| (b.name(), bound));
    for (what, bound) in bound.chain([("control", &control)]) {
        let address = bound.local_addr().map_err(|e| e.to_string())?;
        eprintln!("services-mock: {what} on {address}");
    }

    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    for (backend, listener) in listeners {
        servers.spawn(serve(
            mocks.clone(),
            backend,
            listener,
            until(stopped.clone()),
        ));
    }
    servers.spawn(serve_control(mocks, control, until(stopped)));
    asked_to_stop.await;
    // Servers that are gone already need no telling.
    stop.send(true).ok();
    while servers.join_next().await.is_some() {}
    Ok(())
}

fn port(args: &Args, backend: Backend) -> Result<u16, String> {
    let Some(base) = args.base_port else {
        return Ok(backend.port());
    };
    let place = u16::try_from(backend.index()).unwrap_or_default();
    above(base, BACKENDS_FROM + place)
}

fn control_port(args: &Args) -> Result<u16, String> {
    match (args.control_port, args.base_port) {
        (Some(port), _) => Ok(port),
        (None, Some(base)) => above(base, CONTROL_AT),
        (None, None) => Ok(3999),
    }
}

fn above(base: u16, offset: u16) -> Result<u16, String> {
    let port = base.checked_add(offset);
    port.ok_or_else(|| format!("--base-port {base}: leaves no room for 40 ports above it"))
}

async fn bind(args: &Args, port: u16, what: &str) -> Result<TcpListener, String> {
    let bound = TcpListener::bind((args.host, port)).await;
    bound.map_err(|e| format!("cannot listen on {}:{port} for {what}: {e}", args.host))
}

/// `MOCK_FAULTS='{"review":{"status":503}}'`
fn initial_faults() -> Result<Vec<(Backend, Fault)>, String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the door of this process, which has no configuration file"
    )]
    let Ok(text) = std::env::var("MOCK_FAULTS") else {
        return Ok(Vec::new());
    };
    let wrong = |e: String| format!("MOCK_FAULTS (environment): {e}");
    let faults: BTreeMap<String, Fault> =
        serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let parsed = faults.into_iter().map(|(name, fault)| {
        let backend = name.parse::<Backend>().map_err(|e| wrong(e.to_string()))?;
        Ok((backend, fault))
    });
    parsed.collect()
}

fn wall_time() -> OffsetDateTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the machine for the date"
    )]
    let now = std::time::SystemTime::now();
    OffsetDateTime::from(now)
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // The sender is kept until the end, and its end means the same.
    stopped.wait_for(|stop| *stop).await.ok();
}

/// Resolves on Ctrl-C or SIGTERM. Both are listened for from now on, not only from the first poll.
fn asked_to_stop() -> Result<impl Future<Output = ()>, String> {
    let refused = |e: std::io::Error| format!("cannot listen for signals: {e}");
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
