//! The store in this process: sharded, limited in size, on tokio's clock. It has no background task: writes remove the
//! records that have expired.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::key::Key;
use super::record::{Record, StoreUnavailable, StoredRecord};

/// Enough that threads rarely wait for the same lock.
const SHARDS: usize = 16;

/// The number of messages that a subscriber may fall behind without missing any.
pub(super) const BACKLOG: usize = 1024;

/// Bytes of a record beside its key and its value: about two map entries.
const OVERHEAD: usize = 160;

/// Records in this process.
#[derive(Debug)]
pub struct Memory {
    seed: u64,
    /// The evictable records and the others, in separate shards, so that neither kind takes space from the other.
    shards: [Vec<Mutex<Shard>>; 2],
    channels: Mutex<BTreeMap<&'static str, broadcast::Sender<Option<Bytes>>>>,
}

#[derive(Debug)]
struct Shard {
    records: HashMap<Key, Slot>,
    /// The same records by expiry.
    by_expiry: BTreeSet<(Instant, Key)>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    value: Bytes,
    expires_at: Instant,
}

impl Memory {
    pub(super) fn new(max_bytes: usize, seed: u64) -> Self {
        let shards = || {
            let empty = || Shard {
                records: HashMap::new(),
                by_expiry: BTreeSet::new(),
                bytes: 0,
                max_bytes: max_bytes / SHARDS,
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
        let expires_at = Instant::now() + record.ttl;
        let mut shard = self.shard(&record.key).lock();
        shard.put(record.key, record.value, expires_at)
    }

    pub(super) fn delete(&self, key: &Key) {
        self.shard(key).lock().remove(key);
    }

    /// Like the script `insert_if_absent.lua`.
    pub(super) fn insert_if_absent(
        &self,
        record: &Record,
    ) -> Result<Option<StoredRecord>, StoreUnavailable> {
        let now = Instant::now();
        let mut shard = self.shard(&record.key).lock();
        if let Some(slot) = shard.live(&record.key) {
            return Ok(Some(StoredRecord {
                value: slot.value.clone(),
                ttl_left: slot.expires_at - now,
            }));
        }
        let (key, value) = (record.key.clone(), record.value.clone());
        shard.put(key, value, now + record.ttl)?;
        Ok(None)
    }

    /// Like the script `compare_and_swap.lua`.
    pub(super) fn compare_and_swap(
        &self,
        key: &Key,
        expected: &Bytes,
        replacement: Option<(Bytes, Duration)>,
    ) -> Result<bool, StoreUnavailable> {
        let mut shard = self.shard(key).lock();
        if shard.get(key).as_ref() != Some(expected) {
            return Ok(false);
        }
        match replacement {
            None => shard.remove(key),
            Some((value, ttl)) => shard.put(key.clone(), value, Instant::now() + ttl)?,
        }
        Ok(true)
    }

    pub(super) fn publish(&self, channel: &'static str, message: Bytes) {
        // It fails only if there is no subscriber.
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
        let shards = &self.shards[usize::from(key.is_evictable())];
        &shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    /// The number of records and their bytes, expired ones included.
    #[cfg(test)]
    pub(super) fn usage(&self) -> (usize, usize) {
        let all = self.shards.iter().flatten();
        all.fold((0, 0), |(records, bytes), shard| {
            let shard = shard.lock();
            (records + shard.records.len(), bytes + shard.bytes)
        })
    }
}

impl Shard {
    fn get(&self, key: &Key) -> Option<Bytes> {
        self.live(key).map(|slot| slot.value.clone())
    }

    fn live(&self, key: &Key) -> Option<&Slot> {
        let slot = self.records.get(key)?;
        (slot.expires_at > Instant::now()).then_some(slot)
    }

    fn put(&mut self, key: Key, value: Bytes, expires_at: Instant) -> Result<(), StoreUnavailable> {
        let size = cost(&key, &value);
        let now = Instant::now();
        while self
            .by_expiry
            .first()
            .is_some_and(|(expires_at, _)| *expires_at <= now)
        {
            self.evict_first();
        }
        let replaced = self.records.get(&key).map_or(0, |k| cost(&key, &k.value));
        if !key.is_evictable() && self.bytes + size > self.max_bytes + replaced {
            return Err(StoreUnavailable);
        }
        self.remove(&key);
        while self.bytes + size > self.max_bytes {
            if self.by_expiry.is_empty() {
                // Larger than the shard: not stored. Callers of evictable records must expect that.
                return Ok(());
            }
            self.evict_first();
        }
        self.bytes += size;
        self.by_expiry.insert((expires_at, key.clone()));
        self.records.insert(key, Slot { value, expires_at });
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        if let Some(slot) = self.records.remove(key) {
            self.bytes -= cost(key, &slot.value);
            self.by_expiry.remove(&(slot.expires_at, key.clone()));
        }
    }

    fn evict_first(&mut self) {
        if let Some((_, key)) = self.by_expiry.pop_first() {
            let slot = self.records.remove(&key);
            self.bytes -= slot.map_or(0, |slot| cost(&key, &slot.value));
        }
    }
}

fn cost(key: &Key, value: &Bytes) -> usize {
    key.as_str().len() + value.len() + OVERHEAD
}
