//! One call made on behalf of all replicas, and what they are told of its answer.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio_util::task::TaskTracker;

use super::super::Cache;
use super::super::entry::Entry;
use super::super::hit_for_miss;
use super::super::key::Key;
use super::record::{SharedRecord, StoredResponse};
use super::{MAX_TTL, SharedTier};
use crate::store::Key as StoreKey;

/// For how long a copy that can be asked about is kept beyond its use.
const REVALIDATION_GRACE: Duration = Duration::from_secs(60);

/// What is fetched, and for whom. Dropped without an answer it gives back its right, so that somebody else may try.
pub(crate) struct FetchLease {
    pub(super) cache: Cache,
    pub(super) tasks: TaskTracker,
    pub(super) key: StoreKey,
    pub(super) lease_key: StoreKey,
    pub(super) token: Bytes,
    /// Whether the right to make the call is held, or may be.
    pub(super) held: bool,
    /// The latest purge that was known before the call.
    pub(super) purge_version: u64,
    /// What was found and is no longer fresh.
    pub(super) copy: Option<Box<StoredResponse>>,
}

impl FetchLease {
    /// This was the answer. It is written beside the work: nobody waits for it.
    pub(crate) fn publish(self, of: &Key, entry: &Entry, status: StatusCode, body: Bytes) {
        // A mishap that is passed on as it is says nothing of the answer after it: somebody else may try.
        if status.is_server_error() {
            return;
        }
        let Some(tier) = self.cache.tier() else {
            return;
        };
        let terms = entry.terms;
        let small = body.len() <= tier.config.max_bytes;
        if !small || !terms.may_keep || terms.fresh_for.is_zero() {
            self.cache.mark_hit_for_miss(of);
            return self.write_back(SharedRecord::Uncacheable, hit_for_miss::TTL);
        }
        let stale = terms.stale_while_revalidate.max(terms.stale_if_error);
        let lingers = if entry.has_validator() {
            REVALIDATION_GRACE
        } else {
            Duration::ZERO
        };
        let ttl = terms.fresh_for.saturating_add(stale.max(lingers));
        let ttl = ttl.min(MAX_TTL);
        let copy = StoredResponse {
            since: self.purge_version,
            ttl,
            terms,
            tags: entry.tags.clone(),
            status,
            head: entry.head.clone(),
            body,
        };
        self.write_back(SharedRecord::Response(Box::new(copy)), ttl);
    }

    /// The copy that was found is good still, as `entry` is.
    pub(crate) fn publish_refreshed(mut self, of: &Key, entry: &Entry) {
        if let Some(copy) = self.copy.take() {
            self.publish(of, entry, copy.status, copy.body);
        }
    }

    /// The copy that was found is none any more: nobody is to ask about it, nor to be served it.
    pub(crate) fn publish_gone(self) {
        if self.copy.is_none() {
            return;
        }
        let (cache, tasks) = (self.cache.clone(), self.tasks.clone());
        tasks.spawn(async move {
            let Some(tier) = cache.tier() else { return };
            // Before the right is given back, so that who takes it then finds nothing.
            let _ = tier
                .store
                .delete_many(std::slice::from_ref(&self.key))
                .await;
            drop(self);
        });
    }

    fn write_back(mut self, record: SharedRecord, ttl: Duration) {
        // It goes with the record.
        self.held = false;
        let (cache, tasks) = (self.cache.clone(), self.tasks.clone());
        tasks.spawn(async move {
            let Some(tier) = cache.tier() else { return };
            // Redis that is away knows nothing of it, and says so itself.
            let _ = tier.write(&self, &record, ttl).await;
        });
    }
}

impl SharedTier {
    async fn write(
        &self,
        errand: &FetchLease,
        record: &SharedRecord,
        ttl: Duration,
    ) -> Result<(), crate::store::StoreUnavailable> {
        let mut call = self.land.prepare_invoke();
        call.key(errand.key.as_str()).key(errand.lease_key.as_str());
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        call.arg(&errand.token[..])
            .arg(&record.encode()[..])
            .arg(ttl);
        self.redis.invoke(&errand.key, &call).await
    }
}

impl Drop for FetchLease {
    fn drop(&mut self) {
        // Outside a runtime there is nobody to tell Redis; the right ends by itself.
        if !self.held || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let Some(tier) = self.cache.tier() else {
            return;
        };
        let (redis, key, token) = (
            tier.redis.clone(),
            self.lease_key.clone(),
            self.token.clone(),
        );
        self.tasks
            .spawn(async move { redis.release(&key, &token).await });
    }
}
