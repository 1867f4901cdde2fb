//! The second tier: the responses that all replicas of a gateway share in Redis.
//!
//! It stores responses as backends sent them. A reader decodes again, so no Rust type is tied to the store. One command
//! returns a record, or takes the lease to call the backend for all replicas. A replica that gets neither waits for the
//! leaseholder's response, up to `lease_wait`. The lookups of one screen are pipelined, so together they take one round
//! trip. Responses of one caller never leave the process. If Redis is unavailable or slow, one request per
//! `store.retry_interval` waits up to `store.timeout`; in a cluster, one per slot range. A stale record is revalidated,
//! and served if that fails. Stale-while-revalidate happens in the first tier only.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use ::redis::Script;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use super::entry::{CachedResult, Entry, EntryState};
use super::fetch::CacheFill;
use super::purge_replication::PurgeReplication;
use super::rfc9111;
use bff_context::context::SharedDeadline;
use bff_store::{Key as StoreKey, Namespace, Redis, Store, StoreUnavailable, token};
use lease::FetchLease;
use record::{SharedRecord, SharedResponse};

pub(super) mod lease;
pub(super) mod record;

/// The longest TTL of a record. Purges must be remembered for this long.
pub(super) const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
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

/// The tier that replicas share, if `[store] url` names a Redis.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The largest body in Redis, in bytes as received. Default 262144 (256 KiB): fetching a larger one again costs
    /// less than storing and reading it. 0 turns sharing off: each replica has its own entries only.
    pub max_bytes: usize,
    /// How long a replica waits for a response that another replica fetches, before it calls the backend itself.
    /// Default 500ms: longer than nearly every call. A leaseholder that dies delays the others by no more than this.
    #[serde(with = "bff_config::duration")]
    pub lease_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 10,
            lease_wait: Duration::from_millis(500),
        }
    }
}

/// Decodes a stored body into the type of the key.
pub type DecodeFn = fn(&[u8]) -> Option<Arc<dyn Any + Send + Sync>>;

/// The second tier.
pub(super) struct SharedTier {
    config: Config,
    gateway: String,
    store: Store,
    redis: Arc<Redis>,
    get_or_lease_script: Script,
    store_and_release_script: Script,
    pub(super) purge_replication: PurgeReplication,
}

/// The result of a lookup.
pub(super) enum SharedLookup {
    /// A fresh entry.
    Hit(Arc<Entry>),
    /// The caller must call the backend: for all replicas if it has a lease, conditionally if there is a stale entry.
    Fetch(Option<Box<FetchLease>>, Option<Arc<Entry>>),
}

/// The reply of Redis to a lookup.
enum LeaseState {
    Cached(Bytes, Duration),
    Acquired,
    HeldByOther,
}

impl SharedTier {
    /// The tier of the replicas of `gateway`; `None` if nothing is shared.
    pub(super) fn new(config: &Config, gateway: &str, store: &Store) -> Option<Self> {
        let Store::Redis(redis) = store else {
            return None;
        };
        (config.max_bytes > 0).then(|| Self {
            config: config.clone(),
            gateway: gateway.to_owned(),
            store: store.clone(),
            redis: redis.clone(),
            get_or_lease_script: Script::new(include_str!("shared_tier/get_or_lease.lua")),
            store_and_release_script: Script::new(include_str!(
                "shared_tier/store_and_release.lua"
            )),
            purge_replication: PurgeReplication::new(redis.clone(), gateway),
        })
    }

    /// Looks for a response that another replica has stored or is fetching.
    pub(super) async fn lookup(
        &self,
        fill: &CacheFill,
        decode: DecodeFn,
        deadline: &SharedDeadline,
    ) -> SharedLookup {
        let Some(lease) = self
            .new_lease(fill)
            .filter(|_| !fill.cache.is_hit_for_miss(&fill.key))
        else {
            return SharedLookup::Fetch(None, None);
        };
        let record = |outcome| {
            let metrics = &fill.cache.0.metrics;
            metrics.cache_l2_lookup(fill.key.upstream(), outcome);
        };
        // A slow Redis must leave enough time for an error response to the client.
        let found = timeout_at(deadline.instant(), self.poll(fill, lease, decode, deadline)).await;
        let (result, outcome) = match found {
            Ok(Ok(found)) => found,
            Ok(Err(StoreUnavailable)) => (SharedLookup::Fetch(None, None), "unavailable"),
            Err(_) => (SharedLookup::Fetch(None, None), "timeout"),
        };
        record(outcome);
        result
    }

    async fn poll(
        &self,
        fill: &CacheFill,
        mut lease: Box<FetchLease>,
        decode: DecodeFn,
        deadline: &SharedDeadline,
    ) -> Result<(SharedLookup, &'static str), StoreUnavailable> {
        let cache = &fill.cache;
        if self.purge_replication.has_pending() {
            // A response that this replica purged must not be read back.
            cache.flush(&self.purge_replication).await?;
        }
        let started = Instant::now();
        let (mut pause, mut stale) = (FIRST_PAUSE, None);
        loop {
            match self.get_or_lease(&mut lease).await? {
                LeaseState::Cached(bytes, ttl_left) => match self.decode_record(bytes) {
                    Some(SharedRecord::Uncacheable) => {
                        cache.mark_hit_for_miss(&fill.key);
                        return Ok((SharedLookup::Fetch(None, None), "uncacheable"));
                    }
                    Some(SharedRecord::Response(response)) => {
                        if let Some(entry) = to_entry(fill, &response, ttl_left, decode) {
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
                        if self.acquire(&mut lease).await? {
                            return Ok((SharedLookup::Fetch(Some(lease), stale), "miss"));
                        }
                    }
                    None if self.acquire(&mut lease).await? => {
                        return Ok((SharedLookup::Fetch(Some(lease), None), "miss"));
                    }
                    None => {}
                },
                LeaseState::Acquired => {
                    return Ok((SharedLookup::Fetch(Some(lease), stale), "miss"));
                }
                LeaseState::HeldByOther => {}
            }
            let end = deadline.instant().min(started + self.config.lease_wait);
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
        let record = SharedRecord::decode(bytes, self.config.max_bytes)?;
        let valid = match &record {
            SharedRecord::Uncacheable => true,
            SharedRecord::Response(response) => self
                .purge_replication
                .allows(&response.tags, response.purge_version),
        };
        valid.then_some(record)
    }

    async fn get_or_lease(&self, lease: &mut FetchLease) -> Result<LeaseState, StoreUnavailable> {
        let mut call = self.get_or_lease_script.prepare_invoke();
        call.key(lease.key.as_str()).key(lease.lease_key.as_str());
        call.arg(&lease.token[..]).arg(self.lease_wait_millis());
        // If this future is dropped before the reply, the lease may have been granted: `Drop` releases it.
        lease.held = true;
        let reply = self.redis.invoke(&lease.key, &call).await;
        lease.held = false;
        let (record, ttl_left): (Vec<u8>, i64) = reply?;
        Ok(match (record.is_empty(), ttl_left) {
            (true, 1) => {
                lease.held = true;
                LeaseState::Acquired
            }
            (true, _) => LeaseState::HeldByOther,
            (false, ttl_left) => {
                let ttl_left = Duration::from_millis(u64::try_from(ttl_left).unwrap_or(0));
                LeaseState::Cached(record.into(), ttl_left)
            }
        })
    }

    /// Takes the lease although there is a record.
    async fn acquire(&self, lease: &mut FetchLease) -> Result<bool, StoreUnavailable> {
        let (key, token, wait) = (&lease.lease_key, &lease.token, self.config.lease_wait);
        lease.held = true;
        let acquired = self.redis.acquire_lease(key, token, wait).await;
        lease.held = acquired == Ok(true);
        acquired
    }

    fn lease_wait_millis(&self) -> u64 {
        u64::try_from(self.config.lease_wait.as_millis()).unwrap_or(u64::MAX)
    }

    /// A lease for this call, not held yet; `None` for a response of one caller.
    fn new_lease(&self, fill: &CacheFill) -> Option<Box<FetchLease>> {
        let name = fill.key.shared_key(&self.gateway)?;
        let cache = fill.cache.clone();
        Some(Box::new(FetchLease {
            tasks: cache.0.tasks.clone(),
            key: StoreKey::of(RECORDS, &name, &[]),
            lease_key: StoreKey::of(LEASES, &name, &[]),
            token: token(&cache.0.env),
            cache,
            held: false,
            purge_version: self.purge_replication.seen(),
            stale_response: None,
        }))
    }
}

/// The entry of a record of another replica. `ttl_left` is the rest of the record's TTL.
fn to_entry(
    fill: &CacheFill,
    response: &SharedResponse,
    ttl_left: Duration,
    decode: DecodeFn,
) -> Option<Arc<Entry>> {
    let resident_time = response.ttl.saturating_sub(ttl_left);
    Some(Arc::new(Entry {
        result: CachedResult::Value(decode(&response.body)?),
        decision: response.decision,
        // Not a slice of the record, which includes the body.
        head: rfc9111::compact_headers(&response.head),
        bytes: response.body.len(),
        received_at: Instant::now().checked_sub(resident_time)?,
        requested_at: fill.requested_at,
        tags: response.tags.clone(),
        last_refresh_error: None.into(),
        from_shared_tier: true,
    }))
}
