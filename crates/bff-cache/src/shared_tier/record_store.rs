//! The commands for records in Redis: read or take the lease, write, delete, release.

use std::sync::Arc;
use std::time::Duration;

use ::redis::Script;
use bff_store::{Key, Redis, Store, StoreUnavailable};
use bytes::Bytes;

use super::record::SharedRecord;
use crate::config::SharedConfig;

/// The records of one gateway in Redis.
pub(super) struct RecordStore {
    /// The largest body of a record, in bytes.
    pub(super) max_bytes: usize,
    /// The time after which a lease expires, and that others wait for its holder.
    pub(super) lease_wait: Duration,
    store: Store,
    redis: Arc<Redis>,
    get_or_lease_script: Script,
    store_and_release_script: Script,
}

/// The reply of Redis to a lookup.
pub(super) enum LeaseState {
    /// A record, and the rest of its TTL.
    Cached(Bytes, Duration),
    /// The caller has the lease.
    Acquired,
    /// Another replica has the lease.
    HeldByOther,
}

impl RecordStore {
    pub(super) fn new(config: &SharedConfig, store: Store, redis: Arc<Redis>) -> Self {
        Self {
            max_bytes: config.max_bytes,
            lease_wait: config.lease_wait,
            store,
            redis,
            get_or_lease_script: Script::new(include_str!("get_or_lease.lua")),
            store_and_release_script: Script::new(include_str!("store_and_release.lua")),
        }
    }

    /// Reads the record. Takes the lease if the record does not exist.
    pub(super) async fn get_or_lease(
        &self,
        (key, lease_key): (&Key, &Key),
        token: &Bytes,
    ) -> Result<LeaseState, StoreUnavailable> {
        let mut call = self.get_or_lease_script.prepare_invoke();
        let wait = u64::try_from(self.lease_wait.as_millis()).unwrap_or(u64::MAX);
        call.key(key.as_str()).key(lease_key.as_str());
        call.arg(&token[..]).arg(wait);
        let (record, ttl_left): (Vec<u8>, i64) = self.redis.invoke(key, &call).await?;
        Ok(match (record.is_empty(), ttl_left) {
            (true, 1) => LeaseState::Acquired,
            (true, _) => LeaseState::HeldByOther,
            (false, ttl_left) => {
                let ttl_left = Duration::from_millis(u64::try_from(ttl_left).unwrap_or(0));
                LeaseState::Cached(record.into(), ttl_left)
            }
        })
    }

    /// Takes the lease although there is a record.
    pub(super) async fn acquire(
        &self,
        lease_key: &Key,
        token: &Bytes,
    ) -> Result<bool, StoreUnavailable> {
        self.redis
            .acquire_lease(lease_key, token, self.lease_wait)
            .await
    }

    /// Writes the record and releases the lease.
    pub(super) async fn write(
        &self,
        (key, lease_key): (&Key, &Key),
        token: &Bytes,
        record: &SharedRecord,
        ttl: Duration,
    ) -> Result<(), StoreUnavailable> {
        let mut call = self.store_and_release_script.prepare_invoke();
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        call.key(key.as_str()).key(lease_key.as_str());
        call.arg(&token[..]).arg(&record.encode()[..]).arg(ttl);
        self.redis.invoke(key, &call).await
    }

    /// Deletes the record.
    pub(super) async fn delete(&self, key: &Key) {
        // The store logs a failure itself.
        let _ = self.store.delete_many(std::slice::from_ref(key)).await;
    }

    /// Releases the lease if it still belongs to `token`.
    pub(super) async fn release(&self, lease_key: &Key, token: &Bytes) {
        // The lease expires by itself if Redis is unavailable.
        let _ = self.redis.release_lease(lease_key, token).await;
    }
}
