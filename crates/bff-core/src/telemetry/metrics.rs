//! A gateway's own instruments.

use std::time::Duration;

use crate::outbound::{Reason, State};

/// A gateway's instruments. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// Counts and times one call to a backend; `outcome` is `ok` or a reason.
    pub fn upstream_call(&self, _: &'static str, _: &'static str, _: &'static str, _: Duration) {}

    /// Counts one section of an answer by its state.
    pub fn section(&self, _: &str, _: State, _: Option<Reason>) {}
}
