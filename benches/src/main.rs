//! Measures the cost of the gateway's policies: three gateways with the same backends, in alternating rounds.
//!
//! This binary contains every process except `web-bff`. Without a subcommand it starts, loads and measures the others.

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
mod result;
mod rounds;
mod saturation;
mod server;
mod subprocess;
mod system_under_test;
mod tokens;
mod upstreams;
mod web;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use args::{Args, Part};
use result::Result;

// The baselines use the same allocator as the gateway.
use mimalloc as _;

/// The exit code of a command line error (`EX_USAGE` of sysexits).
const EX_USAGE: u8 = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // An error here means that the terminal is closed.
            e.print().ok();
            let code = if e.use_stderr() { EX_USAGE } else { 0 };
            return ExitCode::from(code);
        }
    };
    let result = match args.part {
        None => measure(rounds::run(args.settings)).await,
        Some(Part::Cache) => cache::measure().and_then(|report| print(&report)),
        Some(Part::Policies(settings)) => measure(policies::run(settings)).await,
        Some(Part::Limits(settings)) => measure(limits::run(settings)).await,
        Some(Part::Overload(settings)) => measure(overload::run(settings)).await,
        Some(Part::Saturation(settings)) => measure(saturation::run(settings)).await,
        Some(Part::Bounded { jwks }) => overload::bounded::serve(jwks).await,
        Some(Part::Backends { jwks }) => backends::serve(jwks).await,
        Some(Part::Floor(upstreams)) => baseline_hyper::serve(upstreams).await,
        Some(Part::Plain(upstreams)) => baseline_axum_reqwest::serve(upstreams).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures until the end or a signal. The servers stop in both cases, because their handles are dropped.
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
