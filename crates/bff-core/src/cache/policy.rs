//! What a call says about keeping its answer, and what configuration makes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hash::Tag;

/// The longest that something of one caller is kept.
const MAX_PRIVATE_TTL: Duration = Duration::from_secs(60);

/// What a call says about keeping its answer. By default what is shared is kept as the backend says, what is one
/// caller's is not kept, and nothing is served stale.
#[derive(Clone, Debug, Default)]
pub struct CachePolicy {
    /// One caller's.
    pub(super) personal: bool,
    /// One caller's, and the call does not say that it may be kept.
    pub(super) no_store: bool,
    /// How long it is fresh, whatever positive lifetime the backend gives or does not give.
    pub(super) ttl: Option<Duration>,
    pub(super) stale_while_revalidate: Duration,
    pub(super) stale_if_error: Duration,
    /// What it can be purged by, beside what the backend says.
    pub(super) tags: Vec<Tag>,
}

impl CachePolicy {
    /// What a call that says nothing means.
    pub(crate) fn default_for(personal: bool) -> Self {
        Self {
            personal,
            no_store: personal,
            ..Self::default()
        }
    }

    /// Nothing is kept and nothing kept is used.
    pub(crate) fn no_store(personal: bool) -> Self {
        Self {
            no_store: true,
            ..Self::default_for(personal)
        }
    }

    pub(crate) fn ttl(&mut self, ttl: Duration) {
        self.ttl = Some(ttl);
    }

    pub(crate) fn private_ttl(&mut self, ttl: Duration) {
        self.no_store = false;
        self.ttl = Some(ttl.min(MAX_PRIVATE_TTL));
    }

    pub(crate) fn stale_while_revalidate(&mut self, bound: Duration) {
        self.stale_while_revalidate = bound;
    }

    pub(crate) fn stale_if_error(&mut self, bound: Duration) {
        self.stale_if_error = bound;
    }

    pub(crate) fn tag(&mut self, word: &str) {
        self.tags.push(Tag::named(word));
    }

    /// It can be purged by the address it was asked for at.
    pub(crate) fn tag_target(&mut self, upstream: &str, target: &str) {
        self.tags.push(Tag::target(upstream, target.as_bytes()));
    }

    /// What holds for a call to `route` under a backend's configuration.
    pub(crate) fn with_overrides(mut self, rules: &CacheOverrides, route: &str) -> Self {
        if self.personal || rules.is_empty() {
            return self;
        }
        let of_route = rules.routes.get(route).cloned().unwrap_or_default();
        self.ttl = of_route.ttl.or(rules.ttl).or(self.ttl);
        let least = |said: Duration, one: Option<Duration>, other: Option<Duration>| {
            said.min(one.or(other).unwrap_or(said))
        };
        self.stale_while_revalidate = least(
            self.stale_while_revalidate,
            of_route.stale_while_revalidate,
            rules.stale_while_revalidate,
        );
        self.stale_if_error = least(
            self.stale_if_error,
            of_route.stale_if_error,
            rules.stale_if_error,
        );
        self
    }
}

/// How a backend's answers are kept, over what its calls say. What is one caller's is never touched, and
/// `no-store`, `no-cache`, `private` or a lifetime of zero from the backend always stand.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheOverrides {
    /// How long an answer is fresh. Default: what the call says, else what the backend says. `0s`: nothing is.
    #[serde(with = "crate::config::duration::option")]
    pub ttl: Option<Duration>,
    /// The most that an answer may be past its freshness while it is asked for anew. Default: what the call says,
    /// which this can only lower, for only a call's author knows what a stale answer means.
    #[serde(with = "crate::config::duration::option")]
    pub stale_while_revalidate: Option<Duration>,
    /// The same for when the backend fails. Default: what the call says.
    #[serde(with = "crate::config::duration::option")]
    pub stale_if_error: Option<Duration>,
    /// The same three for one route, written as metrics name it: `"/things/{id}"`. Default none.
    pub routes: BTreeMap<String, RouteCacheOverrides>,
}

/// How the answers of one route are kept.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteCacheOverrides {
    /// How long an answer is fresh. Default: that of the backend.
    #[serde(with = "crate::config::duration::option")]
    pub ttl: Option<Duration>,
    /// The most past its freshness while it is asked for anew. Default: that of the backend.
    #[serde(with = "crate::config::duration::option")]
    pub stale_while_revalidate: Option<Duration>,
    /// The most past its freshness when the backend fails. Default: that of the backend.
    #[serde(with = "crate::config::duration::option")]
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
        let said = [ttl, stale_while_revalidate, stale_if_error];
        said.iter().all(|s| s.is_none()) && routes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn configuration_sets_freshness_and_only_lowers_what_may_be_stale() {
        let mut said = CachePolicy::default_for(false);
        said.ttl(s(60));
        said.stale_if_error(s(600));
        let of_route = RouteCacheOverrides {
            ttl: Some(s(5)),
            stale_if_error: Some(s(9000)),
            ..RouteCacheOverrides::default()
        };
        let rules = CacheOverrides {
            ttl: Some(s(30)),
            stale_if_error: Some(s(100)),
            stale_while_revalidate: Some(s(10)),
            routes: [("/a".to_owned(), of_route)].into(),
        };
        let one = said.clone().with_overrides(&rules, "/a");
        assert_eq!((one.ttl, one.stale_if_error), (Some(s(5)), s(600)));
        let other = said.clone().with_overrides(&rules, "/b");
        assert_eq!((other.ttl, other.stale_if_error), (Some(s(30)), s(100)));
        assert_eq!(other.stale_while_revalidate, s(0));
        assert_eq!(
            said.with_overrides(&CacheOverrides::default(), "/a").ttl,
            Some(s(60))
        );
    }

    #[test]
    fn what_is_one_callers_is_kept_briefly_or_not_at_all() {
        let rules = CacheOverrides {
            ttl: Some(s(300)),
            ..CacheOverrides::default()
        };
        assert!(
            CachePolicy::default_for(true)
                .with_overrides(&rules, "/a")
                .no_store
        );
        let mut own = CachePolicy::default_for(true);
        own.private_ttl(s(3600));
        let own = own.with_overrides(&rules, "/a");
        assert_eq!((own.no_store, own.ttl), (false, Some(MAX_PRIVATE_TTL)));
    }
}
