//! What the gateway's policies cost: three gateways, the same backends, one machine, in alternating rounds.
//!
//! One binary plays every part but ours: without a subcommand it is the one that starts, drives and measures the others.

mod args;
mod backends;
mod baseline_axum_reqwest;
mod baseline_hyper;
mod cache;
mod core_latency;
mod cpu;
mod limits;
mod load;
mod overload;
mod policies;
mod replicas;
mod report;
mod rounds;
mod server;
mod subprocess;
mod system_under_test;
mod tokens;
mod web;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, Part};

// The quicker allocator also for the gateways that ours is measured against, so that it gains nothing by its own.
use mimalloc as _;

/// Any failure ends the benchmark, so only its text matters.
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// The exit code of a mistake on the command line (`EX_USAGE` of sysexits).
const MISUSED: u8 = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // A closed terminal is no reason to answer anything else.
            e.print().ok();
            let code = if e.use_stderr() { MISUSED } else { 0 };
            return ExitCode::from(code);
        }
    };
    let done = match args.part {
        None => measure(rounds::run(args.settings)).await,
        Some(Part::Cache) => cache::measure().and_then(|report| print(&report)),
        Some(Part::Policies(settings)) => measure(policies::run(settings)).await,
        Some(Part::Limits(settings)) => measure(limits::run(settings)).await,
        Some(Part::Overload(settings)) => measure(overload::run(settings)).await,
        Some(Part::Bounded { jwks }) => overload::bounded::serve(jwks).await,
        Some(Part::Backends { jwks }) => backends::serve(jwks).await,
        Some(Part::Floor(upstreams)) => baseline_hyper::serve(upstreams).await,
        Some(Part::Plain(upstreams)) => baseline_axum_reqwest::serve(upstreams).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, unless told to stop. Either way the servers end here, for whoever holds them is dropped.
async fn measure(run: impl Future<Output = Result<String>>) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let report = tokio::select! {
        report = run => report?,
        _ = terminated.recv() => return Err("terminated".into()),
        _ = tokio::signal::ctrl_c() => return Err("interrupted".into()),
    };
    print(&report)
}

fn print(report: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(report.as_bytes())?)
}
