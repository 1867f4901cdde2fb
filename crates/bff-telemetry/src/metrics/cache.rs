//! What is counted of the cache.

use opentelemetry::KeyValue;

use super::Metrics;
use bff_context::context::CacheResult;

impl Metrics {
    /// Counts one read by how it used the cache: what share of them was hits is the hit ratio.
    pub fn cache_lookup(&self, upstream: &'static str, route: &'static str, lookup: CacheResult) {
        let series = [upstream, route, lookup.as_str()];
        self.0.lookups.of(series, |series| series.add(1));
    }

    /// Counts one look into what replicas share: a copy at once or after waiting for another's call, none, none in
    /// time, none because it may not be kept, or no store.
    pub fn cache_shared(&self, upstream: &'static str, outcome: &'static str) {
        let attributes = [
            KeyValue::new("upstream", upstream),
            KeyValue::new("outcome", outcome),
        ];
        self.0.shared_lookups.add(1, &attributes);
    }
}
