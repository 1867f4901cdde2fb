//! Invalidation by an operator's purge or by a write.

use serde::Deserialize;

use super::Cache;
use super::hash::Tag;
use super::key;
use super::policy::CachePolicy;
use bff_context::scope::Audience;

/// The most names in one purge.
const MAX_NAMES: usize = 1000;
/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 2048;

/// A purge, as the admin port reads it: `{"tags": ["a-1"], "keys": [{"upstream": "alpha", "path": "/things/1"}],
/// "upstreams": ["beta"]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Purge {
    /// Entries with one of these tags, from the backend (`Cache-Tag`) or from the call.
    pub tags: Vec<String>,
    /// Entries of these requests.
    pub keys: Vec<PurgeTarget>,
    /// All entries of these backends.
    pub upstreams: Vec<String>,
}

/// The requests for one address, from any caller.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeTarget {
    /// The name of the backend.
    pub upstream: String,
    /// Path and query as sent upstream. A path without a query matches every query.
    pub path: String,
}

impl Purge {
    /// The number of names. The error is a sentence for the operator.
    pub fn count(&self) -> Result<usize, &'static str> {
        let count = self.tags.len() + self.keys.len() + self.upstreams.len();
        let keys = self.keys.iter().flat_map(|k| [&k.upstream, &k.path]);
        let mut names = self.tags.iter().chain(&self.upstreams).chain(keys);
        if names.any(|name| name.is_empty() || name.len() > MAX_NAME_BYTES) {
            return Err("A tag, an upstream and a path must be 1 to 2048 bytes long.");
        }
        if self.keys.iter().any(|key| !key.path.starts_with('/')) {
            return Err("A path must begin with a slash.");
        }
        match count {
            0 => Err("At least one of tags, keys and upstreams must not be empty."),
            1..=MAX_NAMES => Ok(count),
            _ => Err("A purge has at most 1000 names."),
        }
    }

    /// The backends that the purge names.
    pub fn backends(&self) -> impl Iterator<Item = &str> {
        let key_upstreams = self.keys.iter().map(|key| &*key.upstream);
        self.upstreams
            .iter()
            .map(String::as_str)
            .chain(key_upstreams)
    }

    fn to_tags(&self) -> impl Iterator<Item = Tag> {
        let tags = self.tags.iter().map(|name| Tag::named(name));
        let upstreams = self.upstreams.iter().map(|name| Tag::upstream(name));
        let keys = self.keys.iter().map(|PurgeTarget { upstream, path }| {
            if path.contains('?') {
                Tag::target(upstream, path.as_bytes())
            } else {
                Tag::path(upstream, path.as_bytes())
            }
        });
        tags.chain(upstreams).chain(keys)
    }
}

impl Cache {
    /// Invalidates all named entries requested at `at` or before, in milliseconds since 1970. Active flights continue,
    /// but no request joins them.
    pub fn purge(&self, purge: &Purge, at: u64) {
        for tag in purge.to_tags() {
            self.invalidate(tag, at);
        }
    }

    fn invalidate(&self, tag: Tag, at: u64) {
        self.0.local.purges.record(tag, at);
        if let Some(replication) = self.purge_replication() {
            replication.tag_purged(tag);
        }
    }

    /// Invalidates after a proxied write that was, or may have been, executed at `at`. Invalid are all entries of its
    /// path, with any query (RFC 9111 §4.4), and the caller's entries of this backend. Entries of screens are included.
    pub fn invalidate_forwarded_write(
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
        if let Some(tag) = key::caller_tag(upstream, audience) {
            self.0.local.caller_writes.record(tag, at);
            if let Some(replication) = self.purge_replication() {
                replication.caller_wrote(self.0.local.caller_writes.slot(tag));
            }
        }
    }

    /// Invalidates after a write that was, or may have been, executed at `at`. Invalid are its address (RFC 9111 §4.4),
    /// the tags of `policy`, and the caller's entries of this backend.
    pub fn invalidate_after_write(
        &self,
        (upstream, target): (&str, &[u8]),
        audience: &Audience,
        policy: &CachePolicy,
        at: u64,
    ) {
        self.invalidate(Tag::target(upstream, target), at);
        for tag in &policy.tags {
            self.invalidate(*tag, at);
        }
        self.invalidate_caller(upstream, audience, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Purge, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_purge_has_1_to_1000_valid_names() {
        let valid = r#"{"tags":["a"],"keys":[{"upstream":"b","path":"/c?d=1"}],"upstreams":["e"]}"#;
        assert_eq!(parse(valid).unwrap().count(), Ok(3));
        for invalid in [
            "{}",
            r#"{"tags":[""]}"#,
            r#"{"keys":[{"upstream":"b","path":"c"}]}"#,
        ] {
            assert!(parse(invalid).unwrap().count().is_err(), "{invalid}");
        }
        let too_many = Purge {
            tags: vec!["a".into(); 1001],
            ..Purge::default()
        };
        assert!(too_many.count().is_err());
        assert!(parse(r#"{"tag":["a"]}"#).is_err());
    }
}
