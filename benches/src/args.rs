//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::upstreams::Upstreams;
use crate::{limits, overload, policies, saturation};

/// Measures the web gateway's product page against a minimal gateway and a hand-written gateway
#[derive(Parser)]
#[command(name = "benches", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
}

/// The size of a measurement. All numbers are bounded, so a run is bounded too.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// Number of rounds; each gateway has one turn in each round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=50))]
    pub(crate) rounds: u16,
    /// Requests to each gateway in a round; (c) gets more if its tokens would be used fewer than 50 times each
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) requests: u32,
    /// Number of busy connections, with one request at a time on each
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) connections: u16,
    /// Number of users, each with one token; at most the size of the gateway's token cache
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..=40_000))]
    pub(crate) users: u16,
    /// The gateway of (c) and (d), for instance one built by `deploy/pgo` [default: `web-bff` next to this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) gateway: Option<PathBuf>,
    /// Measure only these rows, for instance `floor,plain`
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Row>,
}

/// A measured gateway.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    Floor,
    Plain,
    Web,
    Bare,
}

/// The other measurements, and the processes that a measurement starts.
#[derive(Subcommand)]
pub(crate) enum Part {
    /// Measure the cost of the cache per read, also through Redis if it is installed; takes half a minute
    Cache,
    /// Measure the policies while backends fail, hang, die and are replaced; takes two minutes
    Policies(policies::Settings),
    /// Measure the cost of rate limits per request, in process and through Redis; takes half a minute
    Limits(limits::Settings),
    /// Measure the goodput at twice the capacity of a backend; takes a minute
    Overload(overload::Settings),
    /// Measure the goodput of a saturated gateway at 8 to 128 connections; takes half a minute
    Saturation(saturation::Settings),
    /// A backend with an exact capacity
    #[command(name = "serve-bounded", hide = true)]
    Bounded {
        /// The issuer's JWKS, as JSON
        #[arg(long)]
        jwks: String,
    },
    /// The backends, with fixed responses
    #[command(name = "serve-backends", hide = true)]
    Backends {
        /// The issuer's JWKS, as JSON
        #[arg(long)]
        jwks: String,
    },
    /// (a): only hyper
    #[command(name = "serve-floor", hide = true)]
    Floor(Upstreams),
    /// (b): axum and reqwest
    #[command(name = "serve-plain", hide = true)]
    Plain(Upstreams),
}

impl Settings {
    /// Whether a row is measured.
    pub(crate) fn includes(&self, row: Row) -> bool {
        self.only.is_empty() || self.only.contains(&row)
    }
}
