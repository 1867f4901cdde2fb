//! The caching rules of a call, and the configuration that overrides them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hash::Tag;

/// The longest time that a response of one caller is cached.
const MAX_PRIVATE_TTL: Duration = Duration::from_secs(60);

/// The caching rules of a call. By default a shared response is cached as the backend says, a response of one caller
/// is not cached, and nothing is served stale.
#[derive(Clone, Debug, Default)]
pub struct CachePolicy {
    /// The response belongs to one caller.
    pub(super) personal: bool,
    /// Nothing is stored or served from the cache. The default for a response of one caller.
    pub(super) no_store: bool,
    /// The freshness lifetime. It replaces any positive lifetime of the backend, and a missing one.
    pub(super) ttl: Option<Duration>,
    pub(super) stale_while_revalidate: Duration,
    pub(super) stale_if_error: Duration,
    /// Tags to purge by, in addition to the backend's.
    pub(super) tags: Vec<Tag>,
}

impl CachePolicy {
    /// The rules of a call that sets none.
    pub fn default_for(personal: bool) -> Self {
        Self {
            personal,
            no_store: personal,
            ..Self::default()
        }
    }

    /// Nothing is stored, and nothing is served from the cache.
    pub fn no_store(personal: bool) -> Self {
        Self {
            no_store: true,
            ..Self::default_for(personal)
        }
    }

    /// Sets the freshness lifetime.
    pub fn ttl(&mut self, ttl: Duration) {
        self.ttl = Some(ttl);
    }

    /// Permits storage of one caller's response, for a limited time.
    pub fn private_ttl(&mut self, ttl: Duration) {
        self.no_store = false;
        self.ttl = Some(ttl.min(MAX_PRIVATE_TTL));
    }

    /// Sets the time after expiry during which a stale response is served and revalidated (RFC 5861 §3).
    pub fn stale_while_revalidate(&mut self, bound: Duration) {
        self.stale_while_revalidate = bound;
    }

    /// Sets the time after expiry during which a stale response replaces an error (RFC 5861 §4).
    pub fn stale_if_error(&mut self, bound: Duration) {
        self.stale_if_error = bound;
    }

    /// Adds a cache tag.
    pub fn tag(&mut self, name: &str) {
        self.tags.push(Tag::named(name));
    }

    /// Adds a tag for the address of the request.
    pub fn tag_target(&mut self, upstream: &str, target: &str) {
        self.tags.push(Tag::target(upstream, target.as_bytes()));
    }

    /// The rules after applying the configuration of the backend for `route`.
    #[must_use]
    pub fn with_overrides(mut self, overrides: &CacheOverrides, route: &str) -> Self {
        if self.personal || overrides.is_empty() {
            return self;
        }
        let route_overrides = overrides.routes.get(route).cloned().unwrap_or_default();
        self.ttl = route_overrides.ttl.or(overrides.ttl).or(self.ttl);
        let lower = |call: Duration, route: Option<Duration>, backend: Option<Duration>| {
            call.min(route.or(backend).unwrap_or(call))
        };
        self.stale_while_revalidate = lower(
            self.stale_while_revalidate,
            route_overrides.stale_while_revalidate,
            overrides.stale_while_revalidate,
        );
        self.stale_if_error = lower(
            self.stale_if_error,
            route_overrides.stale_if_error,
            overrides.stale_if_error,
        );
        self
    }
}

/// How long a backend's responses are cached, overriding its calls. Responses of one caller are unaffected. The
/// backend's `no-store`, `no-cache`, `private` or a lifetime of zero always wins.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheOverrides {
    /// The freshness lifetime. Default: from the call, else from the backend. `0s`: never fresh.
    #[serde(with = "bff_config::duration::option")]
    pub ttl: Option<Duration>,
    /// The maximum staleness during a background revalidation. Default: from the call. This can only lower the call's
    /// value, because only the author of a call knows what a stale response means.
    #[serde(with = "bff_config::duration::option")]
    pub stale_while_revalidate: Option<Duration>,
    /// The maximum staleness if the backend fails; it can only lower the call's. Default: from the call.
    #[serde(with = "bff_config::duration::option")]
    pub stale_if_error: Option<Duration>,
    /// The same three for one route, written as in metrics: `"/things/{id}"`. Default none.
    pub routes: BTreeMap<String, RouteCacheOverrides>,
}

/// How long the responses of one route are cached.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteCacheOverrides {
    /// The freshness lifetime. Default: that of the backend.
    #[serde(with = "bff_config::duration::option")]
    pub ttl: Option<Duration>,
    /// The maximum staleness during a background revalidation. Default: that of the backend.
    #[serde(with = "bff_config::duration::option")]
    pub stale_while_revalidate: Option<Duration>,
    /// The maximum staleness if the backend fails. Default: that of the backend.
    #[serde(with = "bff_config::duration::option")]
    pub stale_if_error: Option<Duration>,
}

impl CacheOverrides {
    fn is_empty(&self) -> bool {
        let Self {
            ttl,
            stale_while_revalidate,
            stale_if_error,
            routes,
        } = self;
        let bounds = [ttl, stale_while_revalidate, stale_if_error];
        bounds.iter().all(|s| s.is_none()) && routes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn configuration_sets_the_ttl_and_only_lowers_staleness() {
        let mut call = CachePolicy::default_for(false);
        call.ttl(s(60));
        call.stale_if_error(s(600));
        let route_overrides = RouteCacheOverrides {
            ttl: Some(s(5)),
            stale_if_error: Some(s(9000)),
            ..RouteCacheOverrides::default()
        };
        let overrides = CacheOverrides {
            ttl: Some(s(30)),
            stale_if_error: Some(s(100)),
            stale_while_revalidate: Some(s(10)),
            routes: [("/a".to_owned(), route_overrides)].into(),
        };
        let route = call.clone().with_overrides(&overrides, "/a");
        assert_eq!((route.ttl, route.stale_if_error), (Some(s(5)), s(600)));
        let backend = call.clone().with_overrides(&overrides, "/b");
        assert_eq!((backend.ttl, backend.stale_if_error), (Some(s(30)), s(100)));
        assert_eq!(backend.stale_while_revalidate, s(0));
        assert_eq!(
            call.with_overrides(&CacheOverrides::default(), "/a").ttl,
            Some(s(60))
        );
    }

    #[test]
    fn a_callers_responses_are_cached_briefly_or_not_at_all() {
        let overrides = CacheOverrides {
            ttl: Some(s(300)),
            ..CacheOverrides::default()
        };
        assert!(
            CachePolicy::default_for(true)
                .with_overrides(&overrides, "/a")
                .no_store
        );
        let mut private = CachePolicy::default_for(true);
        private.private_ttl(s(3600));
        let private = private.with_overrides(&overrides, "/a");
        assert_eq!(
            (private.no_store, private.ttl),
            (false, Some(MAX_PRIVATE_TTL))
        );
    }
}
