//! State that the replicas of a gateway share: records with a TTL, in this process or in Redis.
//!
//! Both implementations behave alike, and one test suite runs on both. The crate knows no request and no HTTP. Read this
//! file first: [`Store`] lists all operations. [`idempotency`], [`session`] and [`device_authorization`] build on it.
//!
//! Every key has a hash tag, so that related records are in one slot of a Redis Cluster. Every key also has the version
//! of the encoding, so that two releases side by side do not read each other's records. A call to Redis that takes
//! longer than `timeout` fails with [`StoreUnavailable`].

use std::sync::Arc;
use std::time::Duration;

use bff_runtime::net::Env;
use bytes::Bytes;
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

pub use config::Config;
pub use encryption::RecordCipher;
pub use idempotency::{BeginResult, Claim, Idempotency, IdempotentWrite};
pub use key::{Key, Namespace, channel};
pub use record::{Record, StoreUnavailable, StoredRecord};

pub use self::redis::Redis;

mod availability;
mod config;
mod connection;
pub mod device_authorization;
mod encrypted;
pub mod encryption;
pub mod idempotency;
mod key;
mod memory;
mod pubsub;
mod record;
mod redis;
pub mod session;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

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

    /// Stores a record if its key has no record yet; otherwise returns the existing one. Atomic.
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

    /// Subscribes to a channel. On Redis one task reads each channel until `tasks` is closed and empty.
    pub fn subscribe(&self, channel: &'static str, tasks: &TaskTracker) -> Subscription {
        match self {
            Self::Memory(memory) => Subscription(memory.subscribe(channel)),
            Self::Redis(redis) => Subscription(redis.subscribe(channel, tasks)),
        }
    }

    /// Whether the store can be unavailable.
    pub fn is_redis(&self) -> bool {
        matches!(self, Self::Redis(_))
    }

    /// The state of the store, for operators.
    pub fn as_str(&self) -> &'static str {
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
pub fn token(env: &Env) -> Bytes {
    Bytes::from(env.uuid().into_bytes().to_vec())
}
