//! The prefixes of all routes, and which one answers a path.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::Config;
use super::route::Route;

/// One prefix of one route.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What logs and metrics call it: `/api/things/*`.
    pub(crate) template: String,
    /// How much of the path's front is taken off for the backend.
    cut: usize,
    /// What takes its place.
    put: String,
    pub(crate) route: Arc<Route>,
}

impl Entry {
    pub(super) fn new(prefix: &str, config: &Config, route: Arc<Route>) -> Self {
        let (cut, put) = match (&config.strip_prefix, &config.rewrite) {
            (Some(strip), _) => (strip.trim_end_matches('/').len(), String::new()),
            (None, Some(to)) => (prefix.len(), to.trim_end_matches('/').to_owned()),
            (None, None) => (0, String::new()),
        };
        Self {
            template: format!("{prefix}/*"),
            cut,
            put,
            route,
        }
    }

    /// A path below the prefix, as the backend knows it.
    pub(super) fn rewritten(&self, path: &str) -> String {
        let rest = path.get(self.cut..).unwrap_or_default();
        match (self.put.as_str(), rest) {
            ("", "") => "/".to_owned(),
            (put, rest) => format!("{put}{rest}"),
        }
    }
}

/// Every prefix.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: BTreeMap<String, Arc<Entry>>,
    longest: usize,
}

impl Table {
    /// Adds a prefix, or gives back the template of whoever has it already.
    pub(super) fn add(&mut self, prefix: &str, entry: Entry) -> Result<(), Arc<Entry>> {
        if let Some(other) = self.entries.get(prefix) {
            return Err(other.clone());
        }
        self.longest = self.longest.max(prefix.len());
        self.entries.insert(prefix.to_owned(), Arc::new(entry));
        Ok(())
    }

    /// The entry with the longest prefix that is the path or lies above it, segment by segment.
    pub(crate) fn find(&self, path: &str) -> Option<&Arc<Entry>> {
        if self.entries.is_empty() {
            return None;
        }
        let slashes = path.bytes().enumerate().skip(1).take(self.longest);
        let ends = slashes.filter(|(_, b)| *b == b'/').map(|(at, _)| at);
        let mut found = None;
        for end in ends.chain([path.len()]) {
            if let Some(entry) = self.entries.get(&path[..end]) {
                found = Some(entry);
            }
        }
        found
    }
}
