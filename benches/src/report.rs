//! The table, and the one line it is about.

use std::fmt::Write;
use std::time::Duration;

use crate::args::Settings;
use crate::system_under_test::Results;

/// What (c) may cost, in floors.
const AIM: f64 = 1.50;

/// Everything measured.
#[derive(Default)]
pub(crate) struct Report {
    /// The gateways, in any order: they are sorted by label.
    pub(crate) rows: Vec<Results>,
    /// What (c) cost at each token's first use.
    pub(crate) first: Option<Results>,
    /// How far apart the cores were, before each round.
    pub(crate) apart: Vec<Duration>,
}

impl Report {
    /// As text.
    pub(crate) fn print(mut self, settings: &Settings) -> String {
        self.rows.extend(self.first.take());
        self.rows.sort_by_key(|row| row.label);
        let mut out = format!(
            "\n{} rounds, {} connections; CPU is that of the gateway's own process\n\n{:<28}{:>14}{:>18}{:>8}{:>10}{:>10}{:>10}\n",
            settings.rounds,
            settings.connections,
            "",
            "CPU µs/req",
            "of rounds",
            "ratio",
            "p50 ms",
            "p99 ms",
            "requests",
        );
        let floor = self.cpu_of("(a) floor");
        for row in &mut self.rows {
            line(&mut out, row, floor);
        }
        if let (Some(floor), Some(ours)) = (floor, self.cpu_of("(c) web")) {
            let ratio = ours / floor;
            // Writing to a text does not fail.
            writeln!(out, "\nratio (c)/(a) = {ratio:.2}, aim <= {AIM:.2}").ok();
        }
        if let (Some(bare), Some(ours)) = (self.cpu_of("(d) web"), self.cpu_of("(c) web")) {
            let cost = ours - bare;
            writeln!(out, "policies that can be off: (c)-(d) = {cost:.1} µs/req").ok();
        }
        let apart: Vec<f64> = self.apart.iter().map(|d| d.as_secs_f64() * 1e9).collect();
        if let Some(apart) = median(&apart) {
            writeln!(out, "from core to core and back: {apart:.0} ns").ok();
        }
        out
    }

    /// The median of the row whose label begins so.
    fn cpu_of(&self, label: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.label.starts_with(label))?;
        median(&row.cpu_us)
    }
}

fn line(out: &mut String, row: &mut Results, floor: Option<f64>) {
    row.latencies.sort_unstable();
    let cpu = median(&row.cpu_us).unwrap_or_default();
    let low = row.cpu_us.iter().copied().fold(f64::INFINITY, f64::min);
    let high = row.cpu_us.iter().copied().fold(0.0, f64::max);
    let ratio = floor.map_or("-".to_owned(), |floor| format!("{:.2}", cpu / floor));
    let ms = |percent| percentile(&row.latencies, percent).as_secs_f64() * 1e3;
    // Writing to a text does not fail.
    writeln!(
        out,
        "{:<28}{cpu:>13.1}{:>18}{ratio:>8}{:>10.2}{:>10.2}{:>10}",
        row.label,
        format!("{low:.1} to {high:.1}"),
        ms(50),
        ms(99),
        row.latencies.len(),
    )
    .ok();
}

/// The middle one, or the mean of the two in the middle.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// The smallest of the sorted values that `percent` of them do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}
