//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use http::uri::Authority;

use crate::{limits, overload, policies};

/// Measures the web gateway's product page against a floor and against what one would write by hand.
#[derive(Parser)]
#[command(name = "benches", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
}

/// How much is measured. Every number has an end, so that a run has one.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// How often each gateway has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=50))]
    pub(crate) rounds: u16,
    /// Requests to each gateway in a round; (c) gets more if its tokens need more to be used 50 times each
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) requests: u32,
    /// Connections kept busy, one request at a time on each
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) connections: u16,
    /// Users, each with a token of their own; no more than the gateway remembers
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..=40_000))]
    pub(crate) users: u16,
    /// The gateway of (c) and (d), if not the `web-bff` beside this program: what `deploy/pgo` leaves, for instance
    #[arg(long, value_name = "PATH")]
    pub(crate) gateway: Option<PathBuf>,
    /// Only these rows, for instance `floor,plain`
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Row>,
}

/// A gateway that is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    Floor,
    Plain,
    Web,
    Bare,
}

/// Another measurement, and the parts that a run starts as processes of their own.
#[derive(Subcommand)]
pub(crate) enum Part {
    /// What the cache costs a read, in one thread, and through Redis where there is one; takes half a minute
    Cache,
    /// What the policies do when backends fail, hang, die, come and go; takes two minutes
    Policies(policies::Settings),
    /// What limits cost a request, in process and through Redis; takes half a minute
    Limits(limits::Settings),
    /// What is left of the work when twice as much is asked as a backend can answer; takes a minute
    Overload(overload::Settings),
    /// A backend of exact capacity
    #[command(name = "serve-bounded", hide = true)]
    Bounded {
        /// The key document of the issuer, as JSON
        #[arg(long)]
        jwks: String,
    },
    /// The backends, with fixed answers
    #[command(name = "serve-backends", hide = true)]
    Backends {
        /// The key document of the issuer, as JSON
        #[arg(long)]
        jwks: String,
    },
    /// (a): hyper alone
    #[command(name = "serve-floor", hide = true)]
    Floor(Upstreams),
    /// (b): axum and reqwest
    #[command(name = "serve-plain", hide = true)]
    Plain(Upstreams),
}

/// Where the backends are, as `host:port`.
#[derive(Clone, clap::Args)]
pub(crate) struct Upstreams {
    #[arg(long)]
    pub(crate) product: Authority,
    #[arg(long)]
    pub(crate) review: Authority,
    #[arg(long)]
    pub(crate) inventory: Authority,
}

impl Settings {
    /// Whether a row is to be measured.
    pub(crate) fn wants(&self, row: Row) -> bool {
        self.only.is_empty() || self.only.contains(&row)
    }
}
