//! The second tier: the responses that all replicas of a gateway share in Redis.
//!
//! It stores responses as backends sent them. A reader decodes again, so no Rust type is tied to the store. One command
//! returns a record, or takes the lease to call the backend for all replicas. A replica that gets neither waits for the
//! leaseholder's response, up to `lease_wait`. The lookups of one screen are pipelined, so together they take one round
//! trip. Responses of one caller never leave the process. If Redis is unavailable or slow, one request per
//! `store.retry_interval` waits up to `store.timeout`; in a cluster, one per slot range. A stale record is revalidated,
//! and served if that fails. Stale-while-revalidate happens in the first tier only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;

use super::config::SharedConfig;
use super::entry::{CachedResult, DecodeFn, DecodedBody, Entry, EntryState};
use super::key::Key;
use super::local_tier::LocalTier;
use super::purge_replication::PurgeReplication;
use super::rfc9111;
use bff_context::context::SharedDeadline;
use bff_runtime::net::Env;
use bff_store::{Key as StoreKey, Namespace, Store, StoreUnavailable, token};
use bff_telemetry::Metrics;
use lease::FetchLease;
use record::{SharedRecord, SharedResponse};
use record_store::{LeaseState, RecordStore};

pub(super) mod lease;
pub(super) mod record;
mod record_store;

/// The time between two lookups while another replica holds the lease: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const MAX_PAUSE: Duration = Duration::from_millis(32);

const RECORDS: Namespace = Namespace {
    name: "cache",
    evictable: true,
};
const LEASES: Namespace = Namespace {
    name: "cache-lease",
    evictable: true,
};

/// The second tier.
pub(super) struct SharedTier {
    records: Arc<RecordStore>,
    gateway: String,
    pub(super) purge_replication: PurgeReplication,
    local: Arc<LocalTier>,
    env: Env,
    tasks: TaskTracker,
    metrics: Metrics,
}

/// A read, as the tier sees it.
pub(super) struct SharedRead<'a> {
    pub(super) key: &'a Key,
    /// When the read started, in milliseconds since 1970.
    pub(super) requested_at: u64,
    pub(super) decode: DecodeFn,
}

/// The result of a lookup.
pub(super) enum SharedLookup {
    /// A fresh entry.
    Hit(Arc<Entry>),
    /// The caller must call the backend: for all replicas if it has a lease, conditionally if there is a stale entry.
    Fetch(Option<Box<FetchLease>>, Option<Arc<Entry>>),
}

impl SharedTier {
    /// The tier of the replicas of `gateway`; `None` if nothing is shared.
    pub(super) fn new(
        config: &SharedConfig,
        gateway: &str,
        store: &Store,
        local: &Arc<LocalTier>,
        (env, tasks, metrics): (&Env, &TaskTracker, &Metrics),
    ) -> Option<Self> {
        let Store::Redis(redis) = store else {
            return None;
        };
        (config.max_bytes > 0).then(|| Self {
            records: Arc::new(RecordStore::new(config, store.clone(), redis.clone())),
            gateway: gateway.to_owned(),
            purge_replication: PurgeReplication::new(redis.clone(), gateway, local, env),
            local: local.clone(),
            env: env.clone(),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
        })
    }

    /// Looks for a response that another replica has stored or is fetching.
    pub(super) async fn lookup(
        &self,
        read: &SharedRead<'_>,
        deadline: &SharedDeadline,
    ) -> SharedLookup {
        let lease = self.new_lease(read.key);
        let Some(lease) = lease.filter(|_| !self.local.is_hit_for_miss(read.key)) else {
            return SharedLookup::Fetch(None, None);
        };
        // A slow Redis must leave enough time to answer the client that there is no response.
        let found = timeout_at(deadline.instant(), self.poll(read, lease, deadline)).await;
        let (result, outcome) = match found {
            Ok(Ok(found)) => found,
            Ok(Err(StoreUnavailable)) => (SharedLookup::Fetch(None, None), "unavailable"),
            Err(_) => (SharedLookup::Fetch(None, None), "timeout"),
        };
        self.metrics.cache_l2_lookup(read.key.upstream(), outcome);
        result
    }

    async fn poll(
        &self,
        read: &SharedRead<'_>,
        mut lease: Box<FetchLease>,
        deadline: &SharedDeadline,
    ) -> Result<(SharedLookup, &'static str), StoreUnavailable> {
        if self.purge_replication.has_pending() {
            // What this replica purged must not be read back.
            self.purge_replication.flush().await?;
        }
        let started = Instant::now();
        let (mut pause, mut stale) = (FIRST_PAUSE, None);
        loop {
            match lease.get_or_acquire().await? {
                LeaseState::Cached(bytes, ttl_left) => match self.decode_record(bytes) {
                    Some(SharedRecord::Uncacheable) => {
                        self.local.mark_hit_for_miss(read.key);
                        return Ok((SharedLookup::Fetch(None, None), "uncacheable"));
                    }
                    Some(SharedRecord::Response(response)) => {
                        if let Some(entry) = to_entry(read, &response, ttl_left) {
                            if matches!(entry.state(Instant::now()), EntryState::Fresh(_)) {
                                let outcome = if pause == FIRST_PAUSE {
                                    "hit"
                                } else {
                                    "hit_after_wait"
                                };
                                return Ok((SharedLookup::Hit(entry), outcome));
                            }
                            stale = Some(entry);
                            lease.stale_response = Some(response);
                        }
                        // Stale: one replica revalidates it.
                        if lease.acquire().await? {
                            return Ok((SharedLookup::Fetch(Some(lease), stale), "miss"));
                        }
                    }
                    None if lease.acquire().await? => {
                        return Ok((SharedLookup::Fetch(Some(lease), None), "miss"));
                    }
                    None => {}
                },
                LeaseState::Acquired => {
                    return Ok((SharedLookup::Fetch(Some(lease), stale), "miss"));
                }
                LeaseState::HeldByOther => {}
            }
            let end = deadline.instant().min(started + self.records.lease_wait);
            if Instant::now() + pause >= end {
                // The wait took too long: fetch here without a lease, and store the response for all replicas anyway.
                return Ok((SharedLookup::Fetch(Some(lease), stale), "timeout"));
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Decodes a record, unless it was purged.
    fn decode_record(&self, bytes: Bytes) -> Option<SharedRecord> {
        let record = SharedRecord::decode(bytes, self.records.max_bytes)?;
        let valid = match &record {
            SharedRecord::Uncacheable => true,
            SharedRecord::Response(response) => self
                .purge_replication
                .allows(&response.tags, response.purge_version),
        };
        valid.then_some(record)
    }

    /// A lease for this call, not held yet; `None` for a response of one caller.
    fn new_lease(&self, key: &Key) -> Option<Box<FetchLease>> {
        let name = key.shared_key(&self.gateway)?;
        Some(Box::new(FetchLease {
            records: self.records.clone(),
            local: self.local.clone(),
            tasks: self.tasks.clone(),
            key: StoreKey::of(RECORDS, &name, &[]),
            lease_key: StoreKey::of(LEASES, &name, &[]),
            token: token(&self.env),
            held: false,
            purge_version: self.purge_replication.seen(),
            stale_response: None,
        }))
    }
}

/// The entry of a record of another replica. `ttl_left` is the rest of the record's TTL.
fn to_entry(
    read: &SharedRead<'_>,
    response: &SharedResponse,
    ttl_left: Duration,
) -> Option<Arc<Entry>> {
    let resident_time = response.ttl.saturating_sub(ttl_left);
    let DecodedBody { value, omitted } = (read.decode)(&response.body)?;
    Some(Arc::new(Entry {
        result: CachedResult::Value(value),
        omitted,
        decision: response.decision,
        // Not a slice of the record, which includes the body.
        head: rfc9111::compact_headers(&response.head),
        bytes: response.body.len(),
        received_at: Instant::now().checked_sub(resident_time)?,
        requested_at: read.requested_at,
        tags: response.tags.clone(),
        last_refresh_error: None.into(),
        from_shared_tier: true,
    }))
}
