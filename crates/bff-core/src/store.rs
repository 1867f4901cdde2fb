//! Shared state: in this process or in Redis. Both implementations behave alike; one test suite runs on both.
//!
//! Every record has a TTL. Every key has a hash tag, so that related records are in one slot of a Redis Cluster, and
//! the version of the encoding, so that two releases side by side do not read each other's records. No call to Redis
//! takes longer than `timeout`; then it fails with [`StoreUnavailable`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::config::Secret;
use crate::context::{Env, GatewayHandles};

pub use encryption::RecordCipher;
pub use idempotency::{BeginResult, Claim, Idempotency, IdempotentWrite};
pub use key::{Key, Namespace};

pub(crate) use self::redis::Redis;
pub(crate) use key::channel;

mod availability;
mod connection;
pub mod device_authorization;
mod encrypted;
pub mod encryption;
pub mod idempotency;
mod key;
mod memory;
pub(crate) mod redis;
pub mod session;
#[cfg(test)]
pub(crate) mod tests;

/// The store of shared state.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Redis, as `redis://host:6379/0`, or as `rediss://…` with TLS. A cluster by some of its nodes, as
    /// `redis+cluster://host:6379,host:6379` or `rediss+cluster://…`. A secret, because it may hold a password. Default
    /// none: state stays in this process, and each replica counts for itself.
    #[serde(default)]
    pub url: Option<Secret>,
    /// Keys that encrypt secrets before they leave this process: 32 random bytes each, in base64url. The first key
    /// encrypts, all keys decrypt. To rotate, add the new key in front; remove the old one after its records have
    /// expired. Default none, which production refuses if `url` is set. Best from a file.
    #[serde(default)]
    pub encryption_keys: Vec<Secret>,
    /// The time limit of one call to Redis. Default 50ms: a healthy Redis takes one, and the request needs the rest.
    #[serde(default = "Config::timeout", with = "crate::config::duration::some")]
    pub timeout: Duration,
    /// How long Redis, or a slot range of a cluster, is not called after a failure. Default 250ms: recovery is noticed
    /// soon, and only one request in that time waits for the attempt.
    #[serde(default = "Config::retry_interval", with = "crate::config::duration")]
    pub retry_interval: Duration,
    /// The size in this process of the records that must not be evicted, in bytes; beyond it, writes fail. The same
    /// again for evictable records; beyond it, the one that expires first is evicted. Default 67108864 (64 MiB).
    #[serde(default = "Config::memory_bytes")]
    pub memory_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            encryption_keys: Vec::new(),
            timeout: Self::timeout(),
            retry_interval: Self::retry_interval(),
            memory_bytes: Self::memory_bytes(),
        }
    }
}

impl Config {
    fn timeout() -> Duration {
        Duration::from_millis(50)
    }

    fn retry_interval() -> Duration {
        Duration::from_millis(250)
    }

    fn memory_bytes() -> usize {
        64 << 20
    }
}

/// The store did not answer in time, or has no room for records that must not be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is unavailable")]
pub struct StoreUnavailable;

/// A record to store.
#[derive(Clone, Debug)]
pub struct Record {
    /// The name of the record.
    pub key: Key,
    /// The content.
    pub value: Bytes,
    /// The time to live; at least a millisecond.
    pub ttl: Duration,
}

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// The content.
    pub value: Bytes,
    /// The rest of its time to live.
    pub ttl_left: Duration,
}

/// The messages of a channel from now on. `None` means that messages may have been missed, because the subscriber
/// fell far behind or Redis was unavailable.
#[derive(Debug)]
pub struct Subscription(broadcast::Receiver<Option<Bytes>>);

/// Shared state. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Store {
    /// In this process.
    Memory(Arc<memory::Memory>),
    /// In Redis.
    Redis(Arc<redis::Redis>),
}

impl Store {
    /// Opens the store. Redis need not be running yet. The error is one line about the key `store.url`.
    pub fn open(config: &Config, env: &Env) -> Result<Self, String> {
        match &config.url {
            None => Ok(Self::memory(config.memory_bytes, env)),
            Some(url) => Ok(Self::Redis(redis::Redis::open(config, url, env)?)),
        }
    }

    /// A store in this process. `bytes` limits the evictable records, and again the others.
    pub fn memory(bytes: usize, env: &Env) -> Self {
        Self::Memory(Arc::new(memory::Memory::new(bytes, env.random())))
    }

    /// The contents of the records, in the order of the keys; `None` if there is no such record. One round trip.
    pub async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreUnavailable> {
        match self {
            Self::Memory(memory) => Ok(keys.iter().map(|key| memory.get(key)).collect()),
            Self::Redis(redis) => redis.get_many(keys).await,
        }
    }

    /// Stores records. One round trip.
    pub async fn put_many(&self, records: Vec<Record>) -> Result<(), StoreUnavailable> {
        match self {
            Self::Memory(memory) => records
                .into_iter()
                .try_for_each(|record| memory.put(record)),
            Self::Redis(redis) => redis.put_many(&records).await,
        }
    }

    /// Deletes records. One round trip.
    pub async fn delete_many(&self, keys: &[Key]) -> Result<(), StoreUnavailable> {
        match self {
            Self::Memory(memory) => {
                for key in keys {
                    memory.delete(key);
                }
                Ok(())
            }
            Self::Redis(redis) => redis.delete_many(keys).await,
        }
    }

    /// Stores a record if there is none under its key; otherwise returns the existing one. Atomic.
    pub async fn insert_if_absent(
        &self,
        record: &Record,
    ) -> Result<Option<StoredRecord>, StoreUnavailable> {
        match self {
            Self::Memory(memory) => memory.insert_if_absent(record),
            Self::Redis(redis) => redis.insert_if_absent(record).await,
        }
    }

    /// Replaces a record, or deletes it, if its content is still `expected`; returns whether it was. Atomic.
    pub async fn compare_and_swap(
        &self,
        key: &Key,
        expected: &Bytes,
        replacement: Option<(Bytes, Duration)>,
    ) -> Result<bool, StoreUnavailable> {
        match self {
            Self::Memory(memory) => memory.compare_and_swap(key, expected, replacement),
            Self::Redis(redis) => redis.compare_and_swap(key, expected, replacement).await,
        }
    }

    /// Publishes a message to all subscribers of a channel, in every process that shares the store.
    pub async fn publish(
        &self,
        channel: &'static str,
        message: Bytes,
    ) -> Result<(), StoreUnavailable> {
        match self {
            Self::Memory(memory) => {
                memory.publish(channel, message);
                Ok(())
            }
            Self::Redis(redis) => redis.publish(channel, &message).await,
        }
    }

    /// Subscribes to a channel. On Redis one task reads each channel until the tasks of `shared` are closed.
    pub fn subscribe(&self, channel: &'static str, shared: &GatewayHandles) -> Subscription {
        match self {
            Self::Memory(memory) => Subscription(memory.subscribe(channel)),
            Self::Redis(redis) => Subscription(redis.subscribe(channel, shared)),
        }
    }

    /// Whether the store can be unavailable.
    pub(crate) fn is_redis(&self) -> bool {
        matches!(self, Self::Redis(_))
    }

    /// The state of the store, for operators.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Memory(_) => "in process",
            Self::Redis(redis) if redis.is_unavailable() => "unavailable",
            Self::Redis(_) => "redis",
        }
    }
}

impl Subscription {
    /// The next message; `None` if messages may have been missed.
    pub async fn next(&mut self) -> Option<Bytes> {
        match self.0.recv().await {
            Ok(message) => message,
            Err(broadcast::error::RecvError::Lagged(_)) => None,
            // The store was dropped: no message will ever come.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// A random token for the holder of a lease or a claim.
pub(crate) fn token(env: &Env) -> Bytes {
    Bytes::from(env.uuid().into_bytes().to_vec())
}
