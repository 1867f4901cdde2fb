//! `cargo run`: the mocked backends and the gateways in one process, for development.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use bff_core::config::{environment, exit_code_for};
use bff_core::server::{exit_with_error, stop_signal};
use bff_core::telemetry::logs;
use clap::{Parser, Subcommand};
use fleet::{Fleet, Ports, banner, scaffold};
use services_mock::Backend;

/// Runs the mocked backends and the gateways in one process, for development
#[derive(Parser)]
#[command(name = "fleet", version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Use ports from N for gateways, N+10 for admin ports, N+20 for mocks, and N+39 for mock control
    #[arg(long, value_name = "N")]
    base_port: Option<u16>,

    /// Run only these gateways, for instance `web,tv`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,

    /// Replace a mock by a real backend, for instance `product=https://products.example`; repeatable
    #[arg(long, value_name = "BACKEND=URL", value_parser = parse_real)]
    real: Vec<(Backend, String)>,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new BFF: its folder with one screen, its tests, and all registrations
    New {
        /// The name of the client class, such as `watch`: a-z, then a-z or 0-9
        name: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return exit_code_for(&error),
    };
    let result = match args.command {
        Some(Command::New { name }) => new_bff(&name),
        None => run(args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => exit_with_error(&line),
    }
}

fn new_bff(name: &str) -> Result<(), String> {
    let folder = std::env::current_dir().map_err(|error| error.to_string())?;
    let next_steps = scaffold::new_bff(scaffold::workspace(&folder)?, name)?;
    // A closed stdout is not an error.
    let _ = write!(std::io::stdout(), "{next_steps}");
    Ok(())
}

async fn run(args: Args) -> Result<(), String> {
    let mut real = BTreeMap::new();
    for (backend, url) in args.real {
        if real.insert(backend, url).is_some() {
            return Err(format!("duplicate --real for {backend}"));
        }
    }
    let _log = logs::install(&logs::Config {
        log_format: logs::Format::Text,
        log_filter: "warn".to_owned(), // access log lines would hide the table
    })?;
    // Installed before the table is printed, so that a signal right after it also stops the fleet gracefully.
    let stop = stop_signal()?;
    let running = fleet::start(Fleet {
        ports: args.base_port.map_or(Ports::Documented, Ports::Above),
        only: args.only,
        real,
        env: environment(),
        seed: 1,
        ..Fleet::default()
    })
    .await?;
    // A closed stdout is not an error.
    let _ = write!(std::io::stdout(), "{}", banner::table(&running));
    stop.await;
    running.stop().await;
    Ok(())
}

/// Parses `BACKEND=URL`.
fn parse_real(text: &str) -> Result<(Backend, String), String> {
    let (name, url) = text.split_once('=').ok_or("must be BACKEND=URL")?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("the URL must start with http:// or https://".to_owned());
    }
    let backend = name.parse::<Backend>().map_err(|error| error.to_string())?;
    Ok((backend, url.to_owned()))
}
