//! The lease to call a backend on behalf of all replicas, and how the response reaches them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio_util::task::TaskTracker;

use super::record::{SharedRecord, SharedResponse};
use super::record_store::{LeaseState, RecordStore};
use crate::entry::Entry;
use crate::hit_for_miss;
use crate::key::Key;
use crate::local_tier::LocalTier;
use crate::purge_replication::MAX_TTL;
use bff_store::{Key as StoreKey, StoreUnavailable};

/// The time for which a record with a validator remains after its use, so that it can be revalidated.
const REVALIDATION_GRACE: Duration = Duration::from_secs(60);

/// A lease for one response. Dropping it unpublished releases it, so that another replica may call.
pub(crate) struct FetchLease {
    pub(super) records: Arc<RecordStore>,
    pub(super) local: Arc<LocalTier>,
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
    /// Reads the record. Takes the lease if the record does not exist.
    pub(super) async fn get_or_acquire(&mut self) -> Result<LeaseState, StoreUnavailable> {
        // If this future is dropped before the reply, the lease may have been granted: `Drop` releases it.
        self.held = true;
        let keys = (&self.key, &self.lease_key);
        let reply = self.records.get_or_lease(keys, &self.token).await;
        self.held = matches!(reply, Ok(LeaseState::Acquired));
        reply
    }

    /// Takes the lease although there is a record.
    pub(super) async fn acquire(&mut self) -> Result<bool, StoreUnavailable> {
        self.held = true;
        let acquired = self.records.acquire(&self.lease_key, &self.token).await;
        self.held = acquired == Ok(true);
        acquired
    }

    /// Publishes the response. A task writes it, so no request waits for that.
    pub(crate) fn publish(self, key: &Key, entry: &Entry, status: StatusCode, body: Bytes) {
        // A server error says nothing about the next response: another replica may call.
        if status.is_server_error() {
            return;
        }
        let decision = entry.decision;
        let fits = body.len() <= self.records.max_bytes;
        if !fits || !decision.may_store || decision.fresh_for.is_zero() {
            self.local.mark_hit_for_miss(key);
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
        let tasks = self.tasks.clone();
        tasks.spawn(async move {
            // Before the lease is released, so that its next holder finds no record.
            self.records.delete(&self.key).await;
            drop(self);
        });
    }

    fn write_back(mut self, record: SharedRecord, ttl: Duration) {
        // The script releases the lease when it stores the record.
        self.held = false;
        let tasks = self.tasks.clone();
        tasks.spawn(async move {
            let keys = (&self.key, &self.lease_key);
            // The store logs a failure itself.
            let _ = self.records.write(keys, &self.token, &record, ttl).await;
        });
    }
}

impl Drop for FetchLease {
    fn drop(&mut self) {
        // Outside a runtime the release cannot be sent; the lease expires by itself.
        if !self.held || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (records, key) = (self.records.clone(), self.lease_key.clone());
        let token = self.token.clone();
        self.tasks
            .spawn(async move { records.release(&key, &token).await });
    }
}
