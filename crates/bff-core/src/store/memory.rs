//! The store in this process: sharded, bounded, on tokio's clock. Nothing runs in the background; what has ended is
//! forgotten by the writes that come after.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Key, Record, StoreUnavailable};

/// Enough that threads seldom meet.
const SHARDS: usize = 16;

/// How many messages a subscriber may fall behind before it is told that it missed some.
pub(super) const BACKLOG: usize = 1024;

/// What a record costs beside its key and its value: two map entries, roughly.
const OVERHEAD: usize = 160;

/// Records in this process.
#[derive(Debug)]
pub struct Memory {
    seed: u64,
    /// What may be forgotten early, and what may not, so that one never pushes out the other.
    shards: [Vec<Mutex<Shard>>; 2],
    channels: Mutex<BTreeMap<&'static str, broadcast::Sender<Option<Bytes>>>>,
}

#[derive(Debug)]
struct Shard {
    records: HashMap<Key, Slot>,
    /// The same records by when they end.
    ends: BTreeSet<(Instant, Key)>,
    bytes: usize,
    most: usize,
}

#[derive(Debug)]
struct Slot {
    value: Bytes,
    ends: Instant,
}

impl Memory {
    pub(super) fn new(most: usize, seed: u64) -> Self {
        let shards = || {
            let empty = || Shard {
                records: HashMap::new(),
                ends: BTreeSet::new(),
                bytes: 0,
                most: most / SHARDS,
            };
            (0..SHARDS).map(|_| Mutex::new(empty())).collect()
        };
        Self {
            seed,
            shards: [shards(), shards()],
            channels: Mutex::default(),
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Bytes> {
        self.shard(key).lock().get(key)
    }

    pub(super) fn put(&self, record: Record) -> Result<(), StoreUnavailable> {
        let ends = Instant::now() + record.ttl;
        let mut shard = self.shard(&record.key).lock();
        shard.put(record.key, record.value, ends)
    }

    pub(super) fn delete(&self, key: &Key) {
        self.shard(key).lock().remove(key);
    }

    /// Redis' script for this is `put_new.lua`.
    pub(super) fn put_new(
        &self,
        record: &Record,
    ) -> Result<Option<super::StoredRecord>, StoreUnavailable> {
        let now = Instant::now();
        let mut shard = self.shard(&record.key).lock();
        if let Some(kept) = shard.kept(&record.key) {
            return Ok(Some(super::StoredRecord {
                value: kept.value.clone(),
                left: kept.ends - now,
            }));
        }
        let (key, value) = (record.key.clone(), record.value.clone());
        shard.put(key, value, now + record.ttl)?;
        Ok(None)
    }

    /// Redis' script for this is `swap.lua`.
    pub(super) fn swap(
        &self,
        key: &Key,
        held: &Bytes,
        with: Option<(Bytes, Duration)>,
    ) -> Result<bool, StoreUnavailable> {
        let mut shard = self.shard(key).lock();
        if shard.get(key).as_ref() != Some(held) {
            return Ok(false);
        }
        match with {
            None => shard.remove(key),
            Some((value, ttl)) => shard.put(key.clone(), value, Instant::now() + ttl)?,
        }
        Ok(true)
    }

    pub(super) fn publish(&self, channel: &'static str, message: Bytes) {
        // Nobody listens: nobody is to be told.
        let _ = self.channel(channel).send(Some(message));
    }

    pub(super) fn subscribe(&self, channel: &'static str) -> broadcast::Receiver<Option<Bytes>> {
        self.channel(channel).subscribe()
    }

    fn channel(&self, name: &'static str) -> broadcast::Sender<Option<Bytes>> {
        let mut channels = self.channels.lock();
        let channel = channels.entry(name);
        channel
            .or_insert_with(|| broadcast::Sender::new(BACKLOG))
            .clone()
    }

    fn shard(&self, key: &Key) -> &Mutex<Shard> {
        let hash = xxh3_64_with_seed(key.as_str().as_bytes(), self.seed);
        let shards = &self.shards[usize::from(key.is_forgettable())];
        &shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    /// Records that are held now, ended ones included.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        let all = self.shards.iter().flatten();
        all.fold((0, 0), |(records, bytes), shard| {
            let shard = shard.lock();
            (records + shard.records.len(), bytes + shard.bytes)
        })
    }
}

impl Shard {
    fn get(&self, key: &Key) -> Option<Bytes> {
        self.kept(key).map(|kept| kept.value.clone())
    }

    fn kept(&self, key: &Key) -> Option<&Slot> {
        let kept = self.records.get(key)?;
        (kept.ends > Instant::now()).then_some(kept)
    }

    fn put(&mut self, key: Key, value: Bytes, ends: Instant) -> Result<(), StoreUnavailable> {
        let size = cost(&key, &value);
        let now = Instant::now();
        while self.ends.first().is_some_and(|(ends, _)| *ends <= now) {
            self.forget_first();
        }
        let replaced = self.records.get(&key).map_or(0, |k| cost(&key, &k.value));
        if !key.is_forgettable() && self.bytes + size > self.most + replaced {
            return Err(StoreUnavailable);
        }
        self.remove(&key);
        while self.bytes + size > self.most {
            if self.ends.is_empty() {
                // Larger than all there is room for: not kept, and nobody may count on it.
                return Ok(());
            }
            self.forget_first();
        }
        self.bytes += size;
        self.ends.insert((ends, key.clone()));
        self.records.insert(key, Slot { value, ends });
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.records.remove(key) {
            self.bytes -= cost(key, &kept.value);
            self.ends.remove(&(kept.ends, key.clone()));
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.ends.pop_first() {
            let kept = self.records.remove(&key);
            self.bytes -= kept.map_or(0, |kept| cost(&key, &kept.value));
        }
    }
}

fn cost(key: &Key, value: &Bytes) -> usize {
    key.as_str().len() + value.len() + OVERHEAD
}
