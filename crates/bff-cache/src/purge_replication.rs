//! Carries invalidations by purges and writes to every replica: a list in Redis, and a channel that announces changes.
//!
//! The list holds the version of the latest purge of each slot of the timestamp tables. Versions come from Redis alone,
//! so the clocks of replicas do not matter. A replica reads new purges after an announcement, and every [`POLL`]
//! without one. So a broken subscription delays a purge by that time at most. Purges that could not be published
//! because Redis was unavailable are published when it recovers, before anything is read from the tier. If the list is
//! lost, even with all other data of Redis, everything is invalidated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ::redis::Script;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::hash::Tag;
use super::local_tier::LocalTier;
use super::purge_timestamps::{CALLER_WRITE_SLOTS, PURGE_SLOTS, PurgeTimestamps};
use bff_runtime::net::Env;
use bff_store::{Key, Namespace, Redis, Store, StoreUnavailable, Subscription};

/// The longest TTL of a record. Purges must be remembered for this long.
pub(super) const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a replica reads without an announcement. Purges must hold everywhere within a second; this is half of
/// that.
pub(crate) const POLL: Duration = Duration::from_millis(400);
/// The least time between two exchanges. Purges in between are sent together.
pub(crate) const BATCH_DELAY: Duration = Duration::from_millis(5);
/// The most slots in one purge. One exchange reads more than that, so it contains at least one complete purge.
const MAX_PUBLISHED: usize = 1024;
const MAX_READ: usize = 2048;
/// The channel on which replicas announce purges.
const CHANNEL: &str = "cache-purges";
/// Slots have one numbering: first those of purged tags, then those of callers, then one for everything.
const EVERYTHING: usize = PURGE_SLOTS + CALLER_WRITE_SLOTS;

const NAMESPACE: Namespace = Namespace {
    name: "cache-purges",
    evictable: false,
};

/// The state of one replica.
pub(super) struct PurgeReplication {
    local: Arc<LocalTier>,
    env: Env,
    redis: Arc<Redis>,
    key: Key,
    channel: String,
    script: Script,
    /// The version of the latest purge of each tag slot.
    tag_versions: PurgeTimestamps,
    /// The version of the latest purge of everything.
    everything_version: AtomicU64,
    /// The latest version that was read.
    seen: AtomicU64,
    /// Slots to publish, each with the sequence number of its latest invalidation.
    pending: Mutex<BTreeMap<usize, u64>>,
    next_number: AtomicU64,
    /// All invalidations with a smaller sequence number are published.
    published_before: AtomicU64,
    /// Signals a pending slot.
    changed: Notify,
    /// One exchange at a time.
    exchange_lock: tokio::sync::Mutex<()>,
}

impl PurgeReplication {
    pub(super) fn new(redis: Arc<Redis>, gateway: &str, local: &Arc<LocalTier>, env: &Env) -> Self {
        Self {
            local: local.clone(),
            env: env.clone(),
            redis,
            key: Key::of(NAMESPACE, gateway.as_bytes(), &[]),
            channel: bff_store::channel(CHANNEL),
            script: Script::new(include_str!("purge_replication/sync.lua")),
            tag_versions: PurgeTimestamps::new(PURGE_SLOTS),
            everything_version: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            pending: Mutex::default(),
            next_number: AtomicU64::new(0),
            published_before: AtomicU64::new(0),
            changed: Notify::new(),
            exchange_lock: tokio::sync::Mutex::default(),
        }
    }

    /// The latest version that was read. A request sent now is newer than that purge.
    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Relaxed)
    }

    /// Whether no known purge invalidates a response requested at version `since`.
    pub(super) fn allows(&self, tags: &[Tag], since: u64) -> bool {
        let is_newer = |tag: &Tag| self.tag_versions.latest(self.tag_versions.slot(*tag)) <= since;
        self.everything_version.load(Relaxed) <= since && tags.iter().all(is_newer)
    }

    /// Records that this replica purged the tag.
    pub(super) fn tag_purged(&self, tag: Tag) {
        self.enqueue(self.tag_versions.slot(tag));
    }

    /// Records that this replica executed a write. `slot` is the caller's slot in the table of writes.
    pub(super) fn caller_wrote(&self, slot: usize) {
        self.enqueue(PURGE_SLOTS + slot);
    }

    fn enqueue(&self, slot: usize) {
        {
            let mut pending = self.pending.lock();
            let sequence_number = self.next_number.fetch_add(1, Relaxed);
            pending.insert(slot, sequence_number);
        }
        self.changed.notify_one();
    }

    /// Whether there are invalidations that other replicas may not know.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.lock().is_empty()
    }

    /// One round trip: publishes `slots` and reads some of the new purges.
    async fn exchange(
        &self,
        slots: impl Iterator<Item = &usize>,
    ) -> Result<SyncReply, StoreUnavailable> {
        let mut call = self.script.prepare_invoke();
        let retention = u64::try_from(MAX_TTL.as_micros()).unwrap_or(u64::MAX);
        call.key(self.key.as_str());
        call.arg(self.seen())
            .arg(retention)
            .arg(&self.channel)
            .arg(MAX_READ);
        for slot in slots {
            call.arg(*slot);
        }
        let (version, before, purges): (u64, u64, Vec<u64>) =
            self.redis.invoke(&self.key, &call).await?;
        let purges = purges
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect();
        Ok(SyncReply {
            version,
            before,
            purges,
        })
    }

    /// Publishes all pending slots and reads all new purges.
    pub(super) async fn sync(&self) -> Result<(), StoreUnavailable> {
        let _guard = self.exchange_lock.lock().await;
        self.pull().await
    }

    /// The same, unless another task has published everything that is pending now.
    pub(super) async fn flush(&self) -> Result<(), StoreUnavailable> {
        let target = self.next_number.load(Relaxed);
        let _guard = self.exchange_lock.lock().await;
        if self.published_before.load(Relaxed) < target {
            self.pull().await?;
        }
        Ok(())
    }

    /// Slots that become pending meanwhile are left to the next exchange. Otherwise this might never end under many
    /// writes.
    async fn pull(&self) -> Result<(), StoreUnavailable> {
        let (mut remaining, target): (BTreeSet<usize>, u64) = {
            let pending = self.pending.lock();
            (
                pending.keys().copied().collect(),
                self.next_number.load(Relaxed),
            )
        };
        loop {
            // A slot stays pending until it is published, because this future may be dropped at any time.
            let batch: BTreeMap<usize, u64> = {
                let pending = self.pending.lock();
                let slots = remaining.iter().take(MAX_PUBLISHED);
                slots
                    .filter_map(|slot| Some((*slot, *pending.get(slot)?)))
                    .collect()
            };
            let reply = self.exchange(batch.keys()).await?;
            // A slot that was invalidated again meanwhile is published again.
            (self.pending.lock()).retain(|slot, number| batch.get(slot) != Some(number));
            remaining.retain(|slot| !batch.contains_key(slot));
            if reply.before < self.seen() {
                // Redis has lost earlier purges. Some may not have reached every replica.
                self.enqueue(EVERYTHING);
                remaining.insert(EVERYTHING);
            }
            let all = self.apply(&batch, reply);
            if all && remaining.is_empty() {
                self.published_before.fetch_max(target, Relaxed);
                return Ok(());
            }
        }
    }

    /// Applies the purges that were read; returns whether these were all.
    fn apply(&self, published: &BTreeMap<usize, u64>, reply: SyncReply) -> bool {
        let now = self.env.unix_millis();
        let SyncReply {
            version,
            mut purges,
            ..
        } = reply;
        let all = purges.len() < MAX_READ;
        if let Some((_, last)) = purges.last().copied().filter(|_| !all) {
            // The rest of this purge was not read.
            purges.retain(|(_, version)| *version < last);
        }
        for (slot, version_at) in &purges {
            let slot = usize::try_from(*slot).unwrap_or(usize::MAX);
            // This replica has applied its own purge already. Entries fetched since then are valid.
            let is_own = *version_at == version && published.contains_key(&slot);
            if slot == EVERYTHING {
                self.everything_version.fetch_max(*version_at, Relaxed);
                self.local.purges.record_all(now);
                self.local.caller_writes.record_all(now);
            } else if let Some(writer) = slot.checked_sub(PURGE_SLOTS) {
                if !is_own {
                    self.local.caller_writes.record_slot(writer, now);
                }
            } else {
                self.tag_versions.record_slot(slot, *version_at);
                if !is_own {
                    self.local.purges.record_slot(slot, now);
                }
            }
        }
        let latest = purges.last().map_or(0, |(_, version_at)| *version_at);
        self.seen.fetch_max(latest, Relaxed);
        all
    }

    /// Publishes and reads purges, after every announcement and every [`POLL`]. It never ends.
    pub(super) async fn follow(&self, mut announcements: Subscription) {
        loop {
            // A failure is retried in the next round. The store logs it.
            let _ = self.sync().await;
            sleep(BATCH_DELAY).await;
            tokio::select! {
                biased;
                _ = announcements.next() => {}
                () = self.changed.notified() => {}
                () = sleep(POLL) => {}
            }
        }
    }
}

/// Subscribes to the announcements of other replicas, until the tasks are closed.
pub(super) fn subscribe(store: &Store, tasks: &TaskTracker) -> Subscription {
    store.subscribe(CHANNEL, tasks)
}

/// The reply of the script.
struct SyncReply {
    /// The version of what was published; 0 if nothing was.
    version: u64,
    /// The latest version before it.
    before: u64,
    /// Slots with the versions of their latest purges, oldest first.
    purges: Vec<(u64, u64)>,
}
