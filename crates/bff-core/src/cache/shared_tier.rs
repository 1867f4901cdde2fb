//! The second tier, behind the copies of this process: what all replicas of a gateway share in Redis.
//!
//! It holds answers as their backends sent them, so that a copy is parsed again by whoever finds it and no type is tied
//! to the store. One question finds a copy or takes the right to make the call for all (a lease); those who find neither
//! wait for the holder's answer, within a bound. Questions of one screen are written to one connection before any is
//! answered, so that together they take one round trip. What is one caller's never leaves the process, and Redis that is
//! away or slow costs an answer at most `store.timeout`, once in a `store.pause`; of a cluster, in each part of it. A copy
//! that is past its freshness there is asked about, and stands in where that fails: who serves it while it is renewed is
//! the replica that has it.

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
use crate::outbound::SharedDeadline;
use crate::store::{Key as StoreKey, Namespace, Redis, Store, StoreUnavailable, token};
use lease::FetchLease;
use record::{SharedRecord, StoredResponse};

pub(super) mod lease;
pub(super) mod record;

/// The longest that a copy is kept there, whatever it may be: so long must purges be remembered.
pub(super) const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two looks for what somebody else fetches: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

const COPIES: Namespace = Namespace {
    name: "cache",
    evictable: true,
};
const LEASES: Namespace = Namespace {
    name: "cache-lease",
    evictable: true,
};

/// What replicas share of the answers of their backends, where `[store] url` names a Redis.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The largest body shared, in bytes as received. Default 262144 (256 KiB): larger ones are cheaper asked for than
    /// carried twice. 0: nothing is shared, and each replica keeps for itself.
    pub max_bytes: usize,
    /// How long a replica waits for an answer that another is fetching, before it asks the backend too. Default 500ms:
    /// longer than nearly every call takes, and all that a replica that dies delays the others.
    #[serde(with = "crate::config::duration")]
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

/// Makes of a body what it was made into before.
pub(crate) type DecodeFn = fn(&[u8]) -> Option<Arc<dyn Any + Send + Sync>>;

/// The second tier.
pub(super) struct SharedTier {
    config: Config,
    gateway: String,
    store: Store,
    redis: Arc<Redis>,
    look: Script,
    land: Script,
    pub(super) spread: PurgeReplication,
}

/// What a look into the tier found.
pub(super) enum SharedLookup {
    /// A fresh copy.
    Hit(Arc<Entry>),
    /// The call is to be made: on behalf of all where there is an errand; on the condition of a copy that is not fresh.
    Fetch(Option<Box<FetchLease>>, Option<Arc<Entry>>),
}

/// What Redis says of a request.
enum LeaseState {
    Cached(Bytes, Duration),
    Acquired,
    HeldByOther,
}

impl SharedTier {
    /// The tier of the replicas of `gateway`; none where nothing is shared.
    pub(super) fn new(config: &Config, gateway: &str, store: &Store) -> Option<Self> {
        let Store::Redis(redis) = store else {
            return None;
        };
        (config.max_bytes > 0).then(|| Self {
            config: config.clone(),
            gateway: gateway.to_owned(),
            store: store.clone(),
            redis: redis.clone(),
            look: Script::new(include_str!("shared_tier/get_or_lease.lua")),
            land: Script::new(include_str!("shared_tier/store_and_release.lua")),
            spread: PurgeReplication::new(redis.clone(), gateway),
        })
    }

    /// Looks for an answer that another replica has or fetches.
    pub(super) async fn lookup(
        &self,
        flying: &CacheFill,
        recall: DecodeFn,
        until: &SharedDeadline,
    ) -> SharedLookup {
        let Some(errand) = self
            .errand(flying)
            .filter(|_| !flying.cx.shared().cache.is_hit_for_miss(&flying.key))
        else {
            return SharedLookup::Fetch(None, None);
        };
        let outcome = |outcome| {
            let metrics = &flying.cx.shared().metrics;
            metrics.cache_shared(flying.key.upstream(), outcome);
        };
        // Redis that is slow must not take the time in which whoever waits has to say that there is no answer.
        let found = timeout_at(until.instant(), self.find(flying, errand, recall, until)).await;
        let (looked, told) = match found {
            Ok(Ok(found)) => found,
            Ok(Err(StoreUnavailable)) => (SharedLookup::Fetch(None, None), "unavailable"),
            Err(_) => (SharedLookup::Fetch(None, None), "timeout"),
        };
        outcome(told);
        looked
    }

    async fn find(
        &self,
        flying: &CacheFill,
        mut errand: Box<FetchLease>,
        recall: DecodeFn,
        until: &SharedDeadline,
    ) -> Result<(SharedLookup, &'static str), StoreUnavailable> {
        let cache = &flying.cx.shared().cache;
        if self.spread.has_pending() {
            // What was purged here must not be read back.
            cache.flush(&self.spread, flying.cx.world()).await?;
        }
        let began = Instant::now();
        let (mut pause, mut stale) = (FIRST_PAUSE, None);
        loop {
            match self.get_or_lease(&mut errand).await? {
                LeaseState::Cached(bytes, left) => match self.read(bytes) {
                    Some(SharedRecord::Uncacheable) => {
                        cache.mark_hit_for_miss(&flying.key);
                        return Ok((SharedLookup::Fetch(None, None), "uncacheable"));
                    }
                    Some(SharedRecord::Response(copy)) => {
                        if let Some(entry) = entry(flying, &copy, left, recall) {
                            if matches!(entry.state(Instant::now()), EntryState::Fresh(_)) {
                                let told = if pause == FIRST_PAUSE {
                                    "hit"
                                } else {
                                    "hit_after_wait"
                                };
                                return Ok((SharedLookup::Hit(entry), told));
                            }
                            stale = Some(entry);
                            errand.copy = Some(copy);
                        }
                        // No longer fresh: somebody asks for it anew.
                        if self.lease(&mut errand).await? {
                            return Ok((SharedLookup::Fetch(Some(errand), stale), "miss"));
                        }
                    }
                    None if self.lease(&mut errand).await? => {
                        return Ok((SharedLookup::Fetch(Some(errand), None), "miss"));
                    }
                    None => {}
                },
                LeaseState::Acquired => {
                    return Ok((SharedLookup::Fetch(Some(errand), stale), "miss"));
                }
                LeaseState::HeldByOther => {}
            }
            let end = until.instant().min(began + self.config.lease_wait);
            if Instant::now() + pause >= end {
                // Longer than it should take: the answer is fetched here, and kept for all nevertheless.
                return Ok((SharedLookup::Fetch(Some(errand), stale), "timeout"));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What is written, unless it was purged.
    fn read(&self, bytes: Bytes) -> Option<SharedRecord> {
        let record = SharedRecord::decode(bytes, self.config.max_bytes)?;
        let alive = match &record {
            SharedRecord::Uncacheable => true,
            SharedRecord::Response(copy) => self.spread.allows(&copy.tags, copy.since),
        };
        alive.then_some(record)
    }

    async fn get_or_lease(&self, errand: &mut FetchLease) -> Result<LeaseState, StoreUnavailable> {
        let mut call = self.look.prepare_invoke();
        call.key(errand.key.as_str()).key(errand.lease_key.as_str());
        call.arg(&errand.token[..]).arg(self.wait_millis());
        // Who leaves before the answer is here may have got the right, and gives it back.
        errand.held = true;
        let answer = self.redis.invoke(&errand.key, &call).await;
        errand.held = false;
        let (record, left): (Vec<u8>, i64) = answer?;
        Ok(match (record.is_empty(), left) {
            (true, 1) => {
                errand.held = true;
                LeaseState::Acquired
            }
            (true, _) => LeaseState::HeldByOther,
            (false, left) => {
                let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
                LeaseState::Cached(record.into(), left)
            }
        })
    }

    /// Takes the right to make the call although there is a record.
    async fn lease(&self, errand: &mut FetchLease) -> Result<bool, StoreUnavailable> {
        let (key, token, wait) = (&errand.lease_key, &errand.token, self.config.lease_wait);
        errand.held = true;
        let got = self.redis.lease(key, token, wait).await;
        errand.held = got == Ok(true);
        got
    }

    fn wait_millis(&self) -> u64 {
        u64::try_from(self.config.lease_wait.as_millis()).unwrap_or(u64::MAX)
    }

    /// What is asked for, unless it is one caller's.
    fn errand(&self, flying: &CacheFill) -> Option<Box<FetchLease>> {
        let name = flying.key.shared_key(&self.gateway)?;
        let shared = flying.cx.shared();
        Some(Box::new(FetchLease {
            cache: shared.cache.clone(),
            tasks: shared.tasks.clone(),
            key: StoreKey::of(COPIES, &name, &[]),
            lease_key: StoreKey::of(LEASES, &name, &[]),
            token: token(&shared.env),
            held: false,
            purge_version: self.spread.seen(),
            copy: None,
        }))
    }
}

/// A copy that another replica kept, of which so much of its time is left.
fn entry(
    flying: &CacheFill,
    copy: &StoredResponse,
    left: Duration,
    recall: DecodeFn,
) -> Option<Arc<Entry>> {
    let here = copy.ttl.saturating_sub(left);
    Some(Arc::new(Entry {
        what: CachedResult::Value(recall(&copy.body)?),
        terms: copy.terms,
        // A slice of all that was read, the body included.
        head: rfc9111::compact_headers(&copy.head),
        bytes: copy.body.len(),
        arrived: Instant::now().checked_sub(here)?,
        requested_at: flying.asked,
        tags: copy.tags.clone(),
        last_refresh_error: None.into(),
        from_shared_tier: true,
    }))
}
