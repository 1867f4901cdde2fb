//! The one seam to shared state: in process, or Redis. Both sides answer alike; one suite of tests runs on both.
//!
//! Every record has a time to live. Every key carries a hash tag, so that what belongs together lies in one slot of a
//! Redis Cluster, and the version of the encoding, so that two releases side by side do not read each other's bytes.
//! Redis is never waited for longer than `timeout`: whoever asks learns within that time that it is [`StoreUnavailable`].

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

/// Where shared state is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Redis, as `redis://host:6379/0` or `rediss://…` with TLS; a cluster by some of its nodes, as
    /// `redis+cluster://host:6379,host:6379` or `rediss+cluster://…`. It may hold a password, so it is a secret and may
    /// come from a file. Default none: everything is kept in this process, and each replica counts for itself.
    #[serde(default)]
    pub url: Option<Secret>,
    /// What secrets are sealed with before they leave this process: 32 random bytes each, in base64url. The first key
    /// seals and all of them open, so that a new one comes first and the old one goes when all it sealed has ended.
    /// Default none, which production refuses together with `url`; best from a file.
    #[serde(default)]
    pub encryption_keys: Vec<Secret>,
    /// How long one question to Redis may take. Default 50ms: a healthy one answers in one, and a request has more to do.
    #[serde(default = "Config::timeout", with = "crate::config::duration::some")]
    pub timeout: Duration,
    /// How long Redis, or the part of a cluster, is not asked after it failed to answer. Default 250ms: soon enough to notice that it is back,
    /// and one request in that time pays for asking.
    #[serde(default = "Config::pause", with = "crate::config::duration")]
    pub retry_interval: Duration,
    /// The most that is kept in this process of what must not be forgotten early, in bytes; beyond it writes are
    /// refused. And the most of what may be, beyond which the record that would end first goes. Default 67108864 (64 MiB).
    #[serde(default = "Config::memory_bytes")]
    pub memory_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            encryption_keys: Vec::new(),
            timeout: Self::timeout(),
            retry_interval: Self::pause(),
            memory_bytes: Self::memory_bytes(),
        }
    }
}

impl Config {
    fn timeout() -> Duration {
        Duration::from_millis(50)
    }

    fn pause() -> Duration {
        Duration::from_millis(250)
    }

    fn memory_bytes() -> usize {
        64 << 20
    }
}

/// The store did not answer in time, or has no room for what may not be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is away")]
pub struct StoreUnavailable;

/// One record to keep.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it is called.
    pub key: Key,
    /// What it holds.
    pub value: Bytes,
    /// How long it is kept; at least a millisecond.
    pub ttl: Duration,
}

/// A record that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// What it holds.
    pub value: Bytes,
    /// How long it is kept yet.
    pub left: Duration,
}

/// What is published on a channel from now on. Whoever falls far behind, or whose Redis was away, has missed messages:
/// `None` says so, and what was learned from the channel may be out of date.
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
    /// Opens the store. Redis need not be there yet.
    pub fn open(config: &Config, world: &Env) -> Result<Self, String> {
        match &config.url {
            None => Ok(Self::memory(config.memory_bytes, world)),
            Some(url) => Ok(Self::Redis(redis::Redis::open(config, url, world)?)),
        }
    }

    /// A store in this process.
    pub fn memory(bytes: usize, world: &Env) -> Self {
        Self::Memory(Arc::new(memory::Memory::new(bytes, world.random())))
    }

    /// What the records hold that are there, in the order of the keys. One round trip.
    pub async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreUnavailable> {
        match self {
            Self::Memory(memory) => Ok(keys.iter().map(|key| memory.get(key)).collect()),
            Self::Redis(redis) => redis.get_many(keys).await,
        }
    }

    /// Keeps records. One round trip.
    pub async fn put_many(&self, records: Vec<Record>) -> Result<(), StoreUnavailable> {
        match self {
            Self::Memory(memory) => records
                .into_iter()
                .try_for_each(|record| memory.put(record)),
            Self::Redis(redis) => redis.put_many(&records).await,
        }
    }

    /// Forgets records. One round trip.
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

    /// Keeps a record where there is none; else tells the one that is there. Atomic.
    pub async fn insert_if_absent(
        &self,
        record: &Record,
    ) -> Result<Option<StoredRecord>, StoreUnavailable> {
        match self {
            Self::Memory(memory) => memory.put_new(record),
            Self::Redis(redis) => redis.put_new(record).await,
        }
    }

    /// Replaces a record that is still `held`, or forgets it; false when it is another by now, or none. Atomic.
    pub async fn compare_and_swap(
        &self,
        key: &Key,
        held: &Bytes,
        with: Option<(Bytes, Duration)>,
    ) -> Result<bool, StoreUnavailable> {
        match self {
            Self::Memory(memory) => memory.swap(key, held, with),
            Self::Redis(redis) => redis.swap(key, held, with).await,
        }
    }

    /// Tells every subscriber of a channel, in every process that shares the store.
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

    /// What is published from now on. On Redis one task follows each channel until `shared`'s tasks are closed.
    pub fn subscribe(&self, channel: &'static str, shared: &GatewayHandles) -> Subscription {
        match self {
            Self::Memory(memory) => Subscription(memory.subscribe(channel)),
            Self::Redis(redis) => Subscription(redis.subscribe(channel, shared)),
        }
    }

    /// Whether it is a part that can be away.
    pub(crate) fn is_redis(&self) -> bool {
        matches!(self, Self::Redis(_))
    }

    /// In a word, for operators.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Memory(_) => "in process",
            Self::Redis(redis) if redis.is_away() => "unavailable",
            Self::Redis(_) => "redis",
        }
    }
}

impl Subscription {
    /// The next message; `None` where some were missed.
    pub async fn next(&mut self) -> Option<Bytes> {
        match self.0.recv().await {
            Ok(message) => message,
            Err(broadcast::error::RecvError::Lagged(_)) => None,
            // The store is gone, and nothing will ever be published.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Who holds a lease or a claim: nobody guesses it.
pub(crate) fn token(world: &Env) -> Bytes {
    Bytes::from(world.uuid().into_bytes().to_vec())
}
