//! The table of all prefixes, and the lookup of a path.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::Config;
use super::route::Route;

/// One prefix of one route.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The route template in logs and metrics: `/api/things/*`.
    pub(crate) template: String,
    /// The length of the path's prefix that is removed for the backend.
    strip_len: usize,
    /// The text that replaces it.
    replacement: String,
    pub(crate) route: Arc<Route>,
}

impl Entry {
    pub(super) fn new(prefix: &str, config: &Config, route: Arc<Route>) -> Self {
        let (strip_len, replacement) = match (&config.strip_prefix, &config.rewrite) {
            (Some(strip), _) => (strip.trim_end_matches('/').len(), String::new()),
            (None, Some(to)) => (prefix.len(), to.trim_end_matches('/').to_owned()),
            (None, None) => (0, String::new()),
        };
        Self {
            template: format!("{prefix}/*"),
            strip_len,
            replacement,
            route,
        }
    }

    /// The backend's path for a path below the prefix.
    pub(super) fn rewrite_path(&self, path: &str) -> String {
        let rest = path.get(self.strip_len..).unwrap_or_default();
        match (self.replacement.as_str(), rest) {
            ("", "") => "/".to_owned(),
            (replacement, rest) => format!("{replacement}{rest}"),
        }
    }
}

/// The table of all prefixes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: BTreeMap<String, Arc<Entry>>,
    longest: usize,
}

impl Table {
    /// Adds a prefix. The error is the entry that already has it.
    pub(super) fn add(&mut self, prefix: &str, entry: Entry) -> Result<(), Arc<Entry>> {
        if let Some(other) = self.entries.get(prefix) {
            return Err(other.clone());
        }
        self.longest = self.longest.max(prefix.len());
        self.entries.insert(prefix.to_owned(), Arc::new(entry));
        Ok(())
    }

    /// The entry with the longest matching prefix, by whole segments.
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
