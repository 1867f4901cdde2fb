//! The store in Redis, on one server or on a cluster: the commands, and their time limit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, Script, ScriptInvocation, Value};
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::availability::Availability;
use super::config::Config;
use super::connection::{RedisConnection, SeedNodes};
use super::key::{self, Key};
use super::memory::BACKLOG;
use super::pubsub::forward_messages;
use super::record::{Record, StoreUnavailable, StoredRecord};
use bff_config::Secret;
use bff_runtime::net::Env;

/// Deletes a lease if the token is still its holder's.
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// The slot ranges of a cluster that may be unavailable separately. Few, because each needs its own recovery attempts.
const SLOT_RANGES: usize = 16;

/// Records in Redis.
pub struct Redis {
    seed_nodes: Arc<SeedNodes>,
    connection: RedisConnection,
    availability: Availability,
    timeout: Duration,
    retry_interval: Duration,
    scripts: Scripts,
    channels: Mutex<BTreeMap<&'static str, broadcast::Sender<Option<Bytes>>>>,
}

struct Scripts {
    release_lease: Script,
    insert_if_absent: Script,
    compare_and_swap: Script,
}

impl Redis {
    pub(super) fn open(config: &Config, url: &Secret, _: &Env) -> Result<Arc<Self>, String> {
        let (connection, seed_nodes) = RedisConnection::open(config, url)?;
        let slot_ranges = if connection.is_cluster() {
            SLOT_RANGES
        } else {
            1
        };
        Ok(Arc::new(Self {
            seed_nodes: Arc::new(seed_nodes),
            connection,
            availability: Availability::new(config.retry_interval, slot_ranges),
            timeout: config.timeout,
            retry_interval: config.retry_interval,
            scripts: Scripts {
                release_lease: Script::new(RELEASE),
                insert_if_absent: Script::new(include_str!("insert_if_absent.lua")),
                compare_and_swap: Script::new(include_str!("compare_and_swap.lua")),
            },
            channels: Mutex::default(),
        }))
    }

    /// Whether keys may be in different slots, so that one script cannot reach all of them.
    pub fn is_cluster(&self) -> bool {
        self.availability.slot_ranges() > 1
    }

    pub(super) fn is_unavailable(&self) -> bool {
        self.availability.is_unavailable()
    }

    pub(super) async fn get_many(
        &self,
        keys: &[Key],
    ) -> Result<Vec<Option<Bytes>>, StoreUnavailable> {
        // Not MGET, because a cluster requires all its keys in one slot.
        let values: Vec<Option<Vec<u8>>> =
            (self.execute_many(keys, |key| (key, Cmd::get(key.as_str())))).await?;
        Ok(values.into_iter().map(|v| v.map(Bytes::from)).collect())
    }

    pub(super) async fn put_many(&self, records: &[Record]) -> Result<(), StoreUnavailable> {
        let put = |record: &'_ Record| {
            let (key, ttl) = (record.key.as_str(), millis(record.ttl));
            Cmd::pset_ex(key, &record.value[..], ttl)
        };
        let replies = self.execute_many::<Value, _>(records, |record| (&record.key, put(record)));
        replies.await.map(drop)
    }

    pub(super) async fn delete_many(&self, keys: &[Key]) -> Result<(), StoreUnavailable> {
        let replies = self.execute_many::<Value, _>(keys, |key| (key, Cmd::unlink(key.as_str())));
        replies.await.map(drop)
    }

    /// Takes a lease for at most `ttl`; false if it is held already.
    pub async fn acquire_lease(
        &self,
        key: &Key,
        token: &Bytes,
        ttl: Duration,
    ) -> Result<bool, StoreUnavailable> {
        let mut set = Cmd::new();
        set.arg("SET").arg(key.as_str()).arg(&token[..]);
        set.arg("NX").arg("PX").arg(millis(ttl));
        let mut connection = self.connection.clone();
        let set = set.query_async(&mut connection);
        let reply: Option<String> = self.execute(self.slot_range(key), set).await?;
        Ok(reply.is_some())
    }

    /// Releases a lease, unless it expired and has another holder.
    pub async fn release_lease(&self, key: &Key, token: &Bytes) -> Result<(), StoreUnavailable> {
        let mut call = self.scripts.release_lease.prepare_invoke();
        call.key(key.as_str()).arg(&token[..]);
        let mut connection = self.connection.clone();
        let release = call.invoke_async(&mut connection);
        let _: u32 = self.execute(self.slot_range(key), release).await?;
        Ok(())
    }

    pub(super) async fn insert_if_absent(
        &self,
        record: &Record,
    ) -> Result<Option<StoredRecord>, StoreUnavailable> {
        let mut call = self.scripts.insert_if_absent.prepare_invoke();
        call.key(record.key.as_str());
        call.arg(&record.value[..]).arg(millis(record.ttl));
        let mut connection = self.connection.clone();
        let put = call.invoke_async(&mut connection);
        let existing: Option<(Vec<u8>, u64)> =
            self.execute(self.slot_range(&record.key), put).await?;
        Ok(existing.map(|(value, ttl_left)| StoredRecord {
            value: value.into(),
            ttl_left: Duration::from_millis(ttl_left),
        }))
    }

    pub(super) async fn compare_and_swap(
        &self,
        key: &Key,
        expected: &Bytes,
        replacement: Option<(Bytes, Duration)>,
    ) -> Result<bool, StoreUnavailable> {
        let mut call = self.scripts.compare_and_swap.prepare_invoke();
        call.key(key.as_str()).arg(&expected[..]);
        if let Some((value, ttl)) = &replacement {
            call.arg(&value[..]).arg(millis(*ttl));
        }
        self.invoke(key, &call).await
    }

    /// Runs a script. All its keys must be in the slot of `key`.
    pub async fn invoke<T: FromRedisValue>(
        &self,
        key: &Key,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, StoreUnavailable> {
        let mut connection = self.connection.clone();
        let call = call.invoke_async(&mut connection);
        self.execute(self.slot_range(key), call).await
    }

    pub(super) async fn publish(
        &self,
        name: &str,
        message: &Bytes,
    ) -> Result<(), StoreUnavailable> {
        let publish = Cmd::publish(key::channel(name), &message[..]);
        let mut connection = self.connection.clone();
        // Any node accepts it.
        self.execute(0, publish.query_async(&mut connection)).await
    }

    pub(super) fn subscribe(
        self: &Arc<Self>,
        name: &'static str,
        tasks: &TaskTracker,
    ) -> broadcast::Receiver<Option<Bytes>> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(name) {
            return channel.subscribe();
        }
        let channel = broadcast::Sender::new(BACKLOG);
        let receiver = channel.subscribe();
        channels.insert(name, channel.clone());
        let (seed_nodes, retry_interval, tasks) =
            (self.seed_nodes.clone(), self.retry_interval, tasks.clone());
        let forward = async move {
            loop {
                // After each end, and after a failed first attempt, messages may have been missed.
                let _ = forward_messages(seed_nodes.next(), name, &channel).await;
                let _ = channel.send(None);
                sleep(retry_interval).await;
            }
        };
        // Not tracked, because draining would wait for it. It ends when the tracker is closed and empty.
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = tasks.wait() => {}
                () = forward => {}
            }
        });
        receiver
    }

    /// Runs many commands at once, one pipeline for each slot range. The replies are in the order of `items`.
    async fn execute_many<T: FromRedisValue, Item>(
        &self,
        items: &[Item],
        command: impl Fn(&Item) -> (&Key, Cmd),
    ) -> Result<Vec<T>, StoreUnavailable> {
        let mut slot_ranges: BTreeMap<usize, (Vec<usize>, Pipeline)> = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let (key, command) = command(item);
            let (indexes, pipe) = slot_ranges.entry(self.slot_range(key)).or_default();
            indexes.push(index);
            pipe.add_command(command);
        }
        let pipelines = slot_ranges
            .iter()
            .map(|(slot_range, (indexes, pipe))| async move {
                let mut connection = self.connection.clone();
                let replies: Vec<T> = self
                    .execute(*slot_range, pipe.query_async(&mut connection))
                    .await?;
                Ok(indexes.iter().copied().zip(replies))
            });
        let mut replies: Vec<(usize, T)> = try_join_all(pipelines)
            .await?
            .into_iter()
            .flatten()
            .collect();
        replies.sort_unstable_by_key(|(index, _)| *index);
        Ok(replies.into_iter().map(|(_, reply)| reply).collect())
    }

    /// The slot range of a key.
    fn slot_range(&self, key: &Key) -> usize {
        key.slot_range(self.availability.slot_ranges())
    }

    /// Runs one command or pipeline on one slot range, and records whether it was available.
    async fn execute<T>(
        &self,
        slot_range: usize,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, StoreUnavailable> {
        if !self.availability.should_try(slot_range) {
            return Err(StoreUnavailable);
        }
        match timeout(self.timeout, call).await {
            Ok(Ok(reply)) => {
                self.availability.record_success(slot_range);
                Ok(reply)
            }
            Ok(Err(error)) => {
                self.availability
                    .record_failure(slot_range, &error.to_string());
                Err(StoreUnavailable)
            }
            Err(_) => {
                self.availability
                    .record_failure(slot_range, "no reply within store.timeout");
                Err(StoreUnavailable)
            }
        }
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("availability", &self.availability)
            .finish_non_exhaustive()
    }
}
