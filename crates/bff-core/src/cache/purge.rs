//! What an operator, or a write, makes outdated.

use serde::Deserialize;

use super::Cache;
use super::hash::Tag;
use super::key;
use super::policy::CachePolicy;
use crate::scope::Audience;

/// The most names in one purge.
const MAX_NAMES: usize = 1000;
/// The longest name.
const MAX_NAME_BYTES: usize = 2048;

/// What to purge, as the admin port reads it: `{"tags": ["a-1"], "keys": [{"upstream": "alpha", "path": "/things/1"}],
/// "upstreams": ["beta"]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Purge {
    /// Answers that their backend (`Cache-Tag`) or their call gave one of these words.
    pub tags: Vec<String>,
    /// Answers to these requests.
    pub keys: Vec<PurgeTarget>,
    /// Everything these backends answered.
    pub upstreams: Vec<String>,
}

/// A request, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeTarget {
    /// The backend.
    pub upstream: String,
    /// Path and query as sent upstream; without a query, whatever it was.
    pub path: String,
}

impl Purge {
    /// How many names there are; the error says in a sentence what is wrong.
    pub(crate) fn count(&self) -> Result<usize, &'static str> {
        let count = self.tags.len() + self.keys.len() + self.upstreams.len();
        let keys = self.keys.iter().flat_map(|k| [&k.upstream, &k.path]);
        let mut names = self.tags.iter().chain(&self.upstreams).chain(keys);
        if names.any(|name| name.is_empty() || name.len() > MAX_NAME_BYTES) {
            return Err("A tag, a backend and a path are 1 to 2048 bytes long.");
        }
        if self.keys.iter().any(|key| !key.path.starts_with('/')) {
            return Err("A path begins with a slash.");
        }
        match count {
            0 => Err("Name at least one of tags, keys and upstreams."),
            1..=MAX_NAMES => Ok(count),
            _ => Err("Name at most 1000 in one purge."),
        }
    }

    /// The backends it names.
    pub(crate) fn backends(&self) -> impl Iterator<Item = &str> {
        let of_keys = self.keys.iter().map(|key| &*key.upstream);
        self.upstreams.iter().map(String::as_str).chain(of_keys)
    }

    fn stamps(&self) -> impl Iterator<Item = Tag> {
        let words = self.tags.iter().map(|word| Tag::named(word));
        let upstreams = self.upstreams.iter().map(|name| Tag::upstream(name));
        let keys = self.keys.iter().map(|PurgeTarget { upstream, path }| {
            if path.contains('?') {
                Tag::target(upstream, path.as_bytes())
            } else {
                Tag::path(upstream, path.as_bytes())
            }
        });
        words.chain(upstreams).chain(keys)
    }
}

impl Cache {
    /// Kills every copy that was asked for at `at` (milliseconds since 1970) or before and that the purge names;
    /// flights in the air land, and nobody else joins them.
    pub(crate) fn purge(&self, purge: &Purge, at: u64) {
        for tag in purge.stamps() {
            self.invalidate(tag, at);
        }
    }

    fn invalidate(&self, tag: Tag, at: u64) {
        self.0.purged.stamp(tag, at);
        if let Some(spread) = self.spread() {
            spread.purged(tag);
        }
    }

    /// A write that was passed on was, or may have been, done at `at`: whatever was asked for at its path (RFC 9111
    /// §4.4), with any query, and everything that its caller asked this backend for are outdated. The screens' copies
    /// are too.
    pub(crate) fn invalidate_forwarded_write(
        &self,
        (upstream, target): (&str, &str),
        audience: Option<&Audience>,
        at: u64,
    ) {
        let path = target.split('?').next().unwrap_or_default();
        self.invalidate(Tag::path(upstream, path.as_bytes()), at);
        if let Some(audience) = audience {
            self.invalidate_caller(upstream, audience, at);
        }
    }

    fn invalidate_caller(&self, upstream: &str, audience: &Audience, at: u64) {
        if let Some(own) = key::own(upstream, audience) {
            self.0.written.stamp(own, at);
            if let Some(spread) = self.spread() {
                spread.written(self.0.written.slot(own));
            }
        }
    }

    /// A write was, or may have been, done at `at`: the same address (RFC 9111 §4.4), what the call names, and
    /// everything that its caller asked this backend for are outdated.
    pub(crate) fn invalidate_after_write(
        &self,
        (upstream, target): (&str, &[u8]),
        audience: &Audience,
        keep: &CachePolicy,
        at: u64,
    ) {
        self.invalidate(Tag::target(upstream, target), at);
        for tag in &keep.tags {
            self.invalidate(*tag, at);
        }
        self.invalidate_caller(upstream, audience, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Purge, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_purge_names_something_and_not_too_much() {
        let good = r#"{"tags":["a"],"keys":[{"upstream":"b","path":"/c?d=1"}],"upstreams":["e"]}"#;
        assert_eq!(read(good).unwrap().count(), Ok(3));
        for bad in [
            "{}",
            r#"{"tags":[""]}"#,
            r#"{"keys":[{"upstream":"b","path":"c"}]}"#,
        ] {
            assert!(read(bad).unwrap().count().is_err(), "{bad}");
        }
        let many = Purge {
            tags: vec!["a".into(); 1001],
            ..Purge::default()
        };
        assert!(many.count().is_err());
        assert!(read(r#"{"tag":["a"]}"#).is_err());
    }
}
