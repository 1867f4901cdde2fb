//! The report: the table and the ratio (c)/(a).

use std::fmt::Write;
use std::time::Duration;

use crate::args::Settings;
use crate::system_under_test::Results;

/// The target: the maximum ratio (c)/(a).
const TARGET_RATIO: f64 = 1.50;

/// All results.
#[derive(Default)]
pub(crate) struct Report {
    /// The gateways in any order. The report sorts them by label.
    pub(crate) rows: Vec<Results>,
    /// The results of (c) at the first use of each token.
    pub(crate) first_use: Option<Results>,
    /// The latency between two cores, measured before each round.
    pub(crate) core_latencies: Vec<Duration>,
}

impl Report {
    /// Formats the report.
    pub(crate) fn print(mut self, settings: &Settings) -> String {
        self.rows.extend(self.first_use.take());
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
        if let (Some(floor), Some(gateway)) = (floor, self.cpu_of("(c) web")) {
            let ratio = gateway / floor;
            // Writing to a string does not fail.
            writeln!(
                out,
                "\nratio (c)/(a) = {ratio:.2}, target <= {TARGET_RATIO:.2}"
            )
            .ok();
        }
        if let (Some(bare), Some(gateway)) = (self.cpu_of("(d) web"), self.cpu_of("(c) web")) {
            let cost = gateway - bare;
            writeln!(
                out,
                "policies that can be switched off: (c)-(d) = {cost:.1} µs/req"
            )
            .ok();
        }
        let latencies: Vec<f64> = self
            .core_latencies
            .iter()
            .map(|d| d.as_secs_f64() * 1e9)
            .collect();
        if let Some(latency) = median(&latencies) {
            writeln!(out, "round trip between cores: {latency:.0} ns").ok();
        }
        out
    }

    /// The median CPU time of the row whose label starts with `label`.
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
    // Writing to a string does not fail.
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

/// The median; of an even number of values, the mean of the two in the middle.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// The smallest of the sorted values that is at least as large as `percent` of them.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}
