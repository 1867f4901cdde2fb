//! The lease to call a backend on behalf of all replicas, and how the response reaches them.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio_util::task::TaskTracker;

use super::super::Cache;
use super::super::entry::Entry;
use super::super::hit_for_miss;
use super::super::key::Key;
use super::record::{SharedRecord, SharedResponse};
use super::{MAX_TTL, SharedTier};
use bff_store::Key as StoreKey;

/// The time for which a record with a validator remains after its use, so that it can be revalidated.
const REVALIDATION_GRACE: Duration = Duration::from_secs(60);

/// A lease for one response. Dropping it unpublished releases it, so that another replica may call.
pub(crate) struct FetchLease {
    pub(super) cache: Cache,
    pub(super) tasks: TaskTracker,
    pub(super) key: StoreKey,
    pub(super) lease_key: StoreKey,
    pub(super) token: Bytes,
    /// Whether the lease is held, or may be.
    pub(super) held: bool,
    /// The latest purge version known before the call.
    pub(super) purge_version: u64,
    /// The stale record that was found.
    pub(super) stale_response: Option<Box<SharedResponse>>,
}

impl FetchLease {
    /// Publishes the response. A task writes it, so no request waits for that.
    pub(crate) fn publish(self, key: &Key, entry: &Entry, status: StatusCode, body: Bytes) {
        // A server error says nothing about the next response: another replica may call.
        if status.is_server_error() {
            return;
        }
        let Some(tier) = self.cache.tier() else {
            return;
        };
        let decision = entry.decision;
        let fits = body.len() <= tier.config.max_bytes;
        if !fits || !decision.may_store || decision.fresh_for.is_zero() {
            self.cache.mark_hit_for_miss(key);
            return self.write_back(SharedRecord::Uncacheable, hit_for_miss::TTL);
        }
        let stale = decision.stale_while_revalidate.max(decision.stale_if_error);
        let grace = if entry.has_validator() {
            REVALIDATION_GRACE
        } else {
            Duration::ZERO
        };
        let ttl = decision.fresh_for.saturating_add(stale.max(grace));
        let ttl = ttl.min(MAX_TTL);
        let response = SharedResponse {
            purge_version: self.purge_version,
            ttl,
            decision,
            tags: entry.tags.clone(),
            status,
            head: entry.head.clone(),
            body,
        };
        self.write_back(SharedRecord::Response(Box::new(response)), ttl);
    }

    /// Publishes the stale record again, refreshed as in `entry`.
    pub(crate) fn publish_refreshed(mut self, key: &Key, entry: &Entry) {
        if let Some(stale) = self.stale_response.take() {
            self.publish(key, entry, stale.status, stale.body);
        }
    }

    /// Deletes the stale record: no replica may revalidate or serve it any more.
    pub(crate) fn publish_gone(self) {
        if self.stale_response.is_none() {
            return;
        }
        let (cache, tasks) = (self.cache.clone(), self.tasks.clone());
        tasks.spawn(async move {
            let Some(tier) = cache.tier() else { return };
            // Before the lease is released, so that its next holder finds no record.
            let _ = tier
                .store
                .delete_many(std::slice::from_ref(&self.key))
                .await;
            drop(self);
        });
    }

    fn write_back(mut self, record: SharedRecord, ttl: Duration) {
        // The script releases the lease when it stores the record.
        self.held = false;
        let (cache, tasks) = (self.cache.clone(), self.tasks.clone());
        tasks.spawn(async move {
            let Some(tier) = cache.tier() else { return };
            // The store logs a failure itself.
            let _ = tier.write(&self, &record, ttl).await;
        });
    }
}

impl SharedTier {
    async fn write(
        &self,
        lease: &FetchLease,
        record: &SharedRecord,
        ttl: Duration,
    ) -> Result<(), bff_store::StoreUnavailable> {
        let mut call = self.store_and_release_script.prepare_invoke();
        call.key(lease.key.as_str()).key(lease.lease_key.as_str());
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        call.arg(&lease.token[..])
            .arg(&record.encode()[..])
            .arg(ttl);
        self.redis.invoke(&lease.key, &call).await
    }
}

impl Drop for FetchLease {
    fn drop(&mut self) {
        // Outside a runtime the release cannot be sent; the lease expires by itself.
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
            .spawn(async move { redis.release_lease(&key, &token).await });
    }
}
