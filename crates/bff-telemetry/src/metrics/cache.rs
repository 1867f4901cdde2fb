//! The metrics of the cache.

use opentelemetry::KeyValue;

use super::Metrics;
use bff_context::context::CacheResult;

impl Metrics {
    /// Counts one cache lookup by its result.
    pub fn cache_lookup(&self, upstream: &'static str, route: &'static str, result: CacheResult) {
        let series = [upstream, route, result.as_str()];
        self.0.cache_lookups.record(series, |series| series.add(1));
    }

    /// Counts one lookup in the cache that replicas share. `outcome` is `hit`, `hit_after_wait`, `miss`, `timeout`,
    /// `uncacheable` or `unavailable`.
    pub fn cache_l2_lookup(&self, upstream: &'static str, outcome: &'static str) {
        let attributes = [
            KeyValue::new("upstream", upstream),
            KeyValue::new("outcome", outcome),
        ];
        self.0.cache_l2_lookups.add(1, &attributes);
    }
}
