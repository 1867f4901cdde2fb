//! The report: one result and one target per row.

use std::fmt::Write;

/// One row of the report: the measurement, its result and its target.
pub(super) struct Row {
    pub(super) label: &'static str,
    pub(super) result: String,
    pub(super) target: &'static str,
    pub(super) met: bool,
}

/// Formats the report.
pub(super) fn report(rows: &[Row], with_consul: bool) -> String {
    let mut out = String::from("\n");
    for Row {
        label,
        result,
        target,
        met,
    } in rows
    {
        let met = if *met { "met" } else { "NOT MET" };
        // Writing to a string does not fail.
        writeln!(out, "{label}\n    {result}; target {target}: {met}").ok();
    }
    if !with_consul {
        writeln!(out, "replaced instances\n    not measured: no --consul").ok();
    }
    out
}
