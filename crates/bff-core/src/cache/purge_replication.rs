//! How what was purged, or outdated by a write, comes to every replica: by a list in Redis that says it, and a channel
//! that says when to look.
//!
//! The list holds, for each slot of the tables of stamps, the version of its latest purge; versions come from Redis
//! alone, so that no replica's clock matters. A replica reads what is new when it is told to, and every [`POLL`] when
//! nobody tells it: a subscription that is broken delays a purge by that much. What could not be told because Redis was
//! away is told when it is back, and before anything is read from it. A list that is lost, with what Redis knew or
//! without, outdates everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ::redis::Script;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::hash::Tag;
use super::purge_timestamps::PurgeTimestamps;
use super::shared_tier::MAX_TTL;
use super::{Cache, PURGES, WRITERS};
use crate::context::{Env, GatewayHandles};
use crate::store::{self, Key, Namespace, Redis, Store, StoreUnavailable};

/// How often a replica looks that nobody told to: half of the second within which a purge holds everywhere.
const POLL: Duration = Duration::from_millis(400);
/// The least time between two looks: what comes in between is read together.
const BATCH_DELAY: Duration = Duration::from_millis(5);
/// How many slots one purge names at most, and one look reads: more than that, so that it reads at least one purge whole.
const MOST_PURGED: usize = 1024;
const MOST_READ: usize = 2048;
/// Where replicas tell each other to look.
const CHANNEL: &str = "cache-purges";
/// Slots are numbered through: those of purges, those of writers, and one that is everything.
const EVERYTHING: usize = PURGES + WRITERS;

const SPACE: Namespace = Namespace {
    name: "cache-purges",
    evictable: false,
};

/// What this replica knows of the purges of all.
pub(super) struct PurgeReplication {
    redis: Arc<Redis>,
    key: Key,
    channel: String,
    script: Script,
    /// The version of the latest purge of each slot.
    known: PurgeTimestamps,
    /// Of everything.
    floor: AtomicU64,
    /// The latest version that was read.
    seen: AtomicU64,
    /// Slots to be told, each with the number of the latest time that it was to be.
    pending: Mutex<BTreeMap<usize, u64>>,
    told: AtomicU64,
    /// All that was to be told before this number is.
    settled: AtomicU64,
    /// There is something to tell.
    news: Notify,
    /// One look at a time.
    turn: tokio::sync::Mutex<()>,
}

impl PurgeReplication {
    pub(super) fn new(redis: Arc<Redis>, gateway: &str) -> Self {
        Self {
            redis,
            key: Key::of(SPACE, gateway.as_bytes(), &[]),
            channel: store::channel(CHANNEL),
            script: Script::new(include_str!("purge_replication/sync.lua")),
            known: PurgeTimestamps::new(PURGES),
            floor: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            pending: Mutex::default(),
            told: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            news: Notify::new(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The latest version that is known: what is asked for now is younger than that purge.
    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Relaxed)
    }

    /// Whether no purge that is known killed what was asked for at version `since`.
    pub(super) fn allows(&self, tags: &[Tag], since: u64) -> bool {
        let outlived = |tag: &Tag| self.known.at(self.known.slot(*tag)) <= since;
        self.floor.load(Relaxed) <= since && tags.iter().all(outlived)
    }

    /// This tag was purged here.
    pub(super) fn purged(&self, tag: Tag) {
        self.enqueue(self.known.slot(tag));
    }

    /// Somebody wrote here: `slot` is theirs in the table of writers.
    pub(super) fn written(&self, slot: usize) {
        self.enqueue(PURGES + slot);
    }

    fn enqueue(&self, slot: usize) {
        {
            let mut pending = self.pending.lock();
            let number = self.told.fetch_add(1, Relaxed);
            pending.insert(slot, number);
        }
        self.news.notify_one();
    }

    /// Whether something was purged here that others may not know.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.lock().is_empty()
    }

    /// One question: tells some of what is pending, and reads some of what is new.
    async fn exchange(
        &self,
        slots: impl Iterator<Item = &usize>,
    ) -> Result<SyncReply, StoreUnavailable> {
        let mut call = self.script.prepare_invoke();
        let matters = u64::try_from(MAX_TTL.as_micros()).unwrap_or(u64::MAX);
        call.key(self.key.as_str());
        call.arg(self.seen())
            .arg(matters)
            .arg(&self.channel)
            .arg(MOST_READ);
        for slot in slots {
            call.arg(*slot);
        }
        let (version, before, news): (u64, u64, Vec<u64>) =
            self.redis.invoke(&self.key, &call).await?;
        let news = news
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect();
        Ok(SyncReply {
            version,
            before,
            news,
        })
    }
}

/// What Redis said.
struct SyncReply {
    /// Of what was told.
    version: u64,
    /// The latest before that.
    before: u64,
    /// Slots and the versions of their latest purges, oldest first.
    news: Vec<(u64, u64)>,
}

impl Cache {
    /// Tells what is pending by now and reads what is new; false where there is nobody to tell.
    pub(crate) async fn sync(&self, world: &Env) -> Result<bool, StoreUnavailable> {
        let Some(spread) = self.spread() else {
            return Ok(false);
        };
        let _turn = spread.turn.lock().await;
        self.pull(spread, world).await.map(|()| true)
    }

    /// The same, unless all that is pending by now has been told by whoever had the turn before.
    pub(super) async fn flush(
        &self,
        spread: &PurgeReplication,
        world: &Env,
    ) -> Result<(), StoreUnavailable> {
        let by = spread.told.load(Relaxed);
        let _turn = spread.turn.lock().await;
        if spread.settled.load(Relaxed) < by {
            self.pull(spread, world).await?;
        }
        Ok(())
    }

    /// What becomes pending meanwhile is for the next one who looks: nobody would ever be done where much is written.
    async fn pull(&self, spread: &PurgeReplication, world: &Env) -> Result<(), StoreUnavailable> {
        let (mut owed, by): (BTreeSet<usize>, u64) = {
            let pending = spread.pending.lock();
            (pending.keys().copied().collect(), spread.told.load(Relaxed))
        };
        loop {
            // It stays pending until it is told: whoever waits for this may leave at any time.
            let told: BTreeMap<usize, u64> = {
                let pending = spread.pending.lock();
                let some = owed.iter().take(MOST_PURGED);
                some.filter_map(|slot| Some((*slot, *pending.get(slot)?)))
                    .collect()
            };
            let answer = spread.exchange(told.keys()).await?;
            // What was purged once more meanwhile is told once more.
            (spread.pending.lock()).retain(|slot, number| told.get(slot) != Some(number));
            owed.retain(|slot| !told.contains_key(slot));
            if answer.before < spread.seen() {
                // What was purged earlier is forgotten there, and perhaps not all that it killed.
                spread.enqueue(EVERYTHING);
                owed.insert(EVERYTHING);
            }
            let all = self.apply(spread, &told, answer, world.unix_millis());
            if all && owed.is_empty() {
                spread.settled.fetch_max(by, Relaxed);
                return Ok(());
            }
        }
    }

    /// Takes in what was read; says whether that was all there is.
    fn apply(
        &self,
        spread: &PurgeReplication,
        told: &BTreeMap<usize, u64>,
        answer: SyncReply,
        now: u64,
    ) -> bool {
        let SyncReply {
            version, mut news, ..
        } = answer;
        let all = news.len() < MOST_READ;
        if let Some((_, last)) = news.last().copied().filter(|_| !all) {
            // The rest of this purge was not read.
            news.retain(|(_, version)| *version < last);
        }
        for (slot, at) in &news {
            let slot = usize::try_from(*slot).unwrap_or(usize::MAX);
            // What was purged here is dead here since then, and what came after lives.
            let own = *at == version && told.contains_key(&slot);
            if slot == EVERYTHING {
                spread.floor.fetch_max(*at, Relaxed);
                self.0.purged.stamp_all(now);
                self.0.written.stamp_all(now);
            } else if let Some(writer) = slot.checked_sub(PURGES) {
                if !own {
                    self.0.written.stamp_slot(writer, now);
                }
            } else {
                spread.known.stamp_slot(slot, *at);
                if !own {
                    self.0.purged.stamp_slot(slot, now);
                }
            }
        }
        let latest = news.last().map_or(0, |(_, at)| *at);
        spread.seen.fetch_max(latest, Relaxed);
        all
    }

    /// Keeps this replica up to date until `shared`'s tasks are closed. Must be called inside the runtime.
    pub(crate) fn follow(&self, store: &Store, shared: &GatewayHandles) {
        if self.spread().is_none() {
            return;
        }
        let (cache, world) = (self.clone(), shared.env.clone());
        let mut heard = store.subscribe(CHANNEL, shared);
        let tasks = shared.tasks.clone();
        let follow = async move {
            loop {
                // What it could not tell or read it will: the store says itself that it is away.
                let _ = cache.sync(&world).await;
                sleep(BATCH_DELAY).await;
                let Some(spread) = cache.spread() else { return };
                tokio::select! {
                    biased;
                    _ = heard.next() => {}
                    () = spread.news.notified() => {}
                    () = sleep(POLL) => {}
                }
            }
        };
        // Not tracked, for draining would wait for it; it ends when draining begins.
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = tasks.wait() => {}
                () = follow => {}
            }
        });
    }
}
