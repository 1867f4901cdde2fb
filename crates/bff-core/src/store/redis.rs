//! The store in Redis, one server or a cluster: what each question is, and how long it may take.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisError, Script, ScriptInvocation, Value};
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

use super::availability::Availability;
use super::connection::{RedisConnection, SeedNodes};
use super::memory::BACKLOG;
use super::{Config, Key, Record, StoreUnavailable, StoredRecord, key};
use crate::config::Secret;
use crate::context::{Env, GatewayHandles};

/// Deletes what the holder still holds.
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// How many parts of a cluster may be away for themselves: few enough that asking each whether it is back costs little.
const PARTS: usize = 16;

/// Records in Redis.
pub struct Redis {
    named: Arc<SeedNodes>,
    connection: RedisConnection,
    link: Availability,
    timeout: Duration,
    pause: Duration,
    scripts: Scripts,
    channels: Mutex<BTreeMap<&'static str, broadcast::Sender<Option<Bytes>>>>,
}

struct Scripts {
    release: Script,
    put_new: Script,
    swap: Script,
}

impl Redis {
    pub(super) fn open(config: &Config, url: &Secret, _: &Env) -> Result<Arc<Self>, String> {
        let (connection, named) = RedisConnection::open(config, url)?;
        let parts = if connection.is_cluster() { PARTS } else { 1 };
        Ok(Arc::new(Self {
            named: Arc::new(named),
            connection,
            link: Availability::new(config.retry_interval, parts),
            timeout: config.timeout,
            pause: config.retry_interval,
            scripts: Scripts {
                release: Script::new(RELEASE),
                put_new: Script::new(include_str!("put_new.lua")),
                swap: Script::new(include_str!("swap.lua")),
            },
            channels: Mutex::default(),
        }))
    }

    /// Whether keys may lie apart, so that no script reaches all of them.
    pub(crate) fn is_cluster(&self) -> bool {
        self.link.parts() > 1
    }

    pub(super) fn is_away(&self) -> bool {
        self.link.is_away()
    }

    pub(super) async fn get_many(
        &self,
        keys: &[Key],
    ) -> Result<Vec<Option<Bytes>>, StoreUnavailable> {
        // Not MGET: a cluster would want all keys in one slot.
        let values: Vec<Option<Vec<u8>>> =
            (self.execute_many(keys, |key| (key, Cmd::get(key.as_str())))).await?;
        Ok(values.into_iter().map(|v| v.map(Bytes::from)).collect())
    }

    pub(super) async fn put_many(&self, records: &[Record]) -> Result<(), StoreUnavailable> {
        let put = |record: &'_ Record| {
            let (key, ttl) = (record.key.as_str(), millis(record.ttl));
            Cmd::pset_ex(key, &record.value[..], ttl)
        };
        let told = self.execute_many::<Value, _>(records, |record| (&record.key, put(record)));
        told.await.map(drop)
    }

    pub(super) async fn delete_many(&self, keys: &[Key]) -> Result<(), StoreUnavailable> {
        let told = self.execute_many::<Value, _>(keys, |key| (key, Cmd::unlink(key.as_str())));
        told.await.map(drop)
    }

    /// Takes the right to do something alone for at most `ttl`; false when somebody has it.
    pub(crate) async fn lease(
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
        let answer: Option<String> = self.execute(self.part(key), set).await?;
        Ok(answer.is_some())
    }

    /// Gives it back, unless its time was up and somebody else has it by now.
    pub(crate) async fn release(&self, key: &Key, token: &Bytes) -> Result<(), StoreUnavailable> {
        let mut call = self.scripts.release.prepare_invoke();
        call.key(key.as_str()).arg(&token[..]);
        let mut connection = self.connection.clone();
        let release = call.invoke_async(&mut connection);
        let _: u32 = self.execute(self.part(key), release).await?;
        Ok(())
    }

    pub(super) async fn put_new(
        &self,
        record: &Record,
    ) -> Result<Option<StoredRecord>, StoreUnavailable> {
        let mut call = self.scripts.put_new.prepare_invoke();
        call.key(record.key.as_str());
        call.arg(&record.value[..]).arg(millis(record.ttl));
        let mut connection = self.connection.clone();
        let put = call.invoke_async(&mut connection);
        let there: Option<(Vec<u8>, u64)> = self.execute(self.part(&record.key), put).await?;
        Ok(there.map(|(value, left)| StoredRecord {
            value: value.into(),
            left: Duration::from_millis(left),
        }))
    }

    pub(super) async fn swap(
        &self,
        key: &Key,
        held: &Bytes,
        with: Option<(Bytes, Duration)>,
    ) -> Result<bool, StoreUnavailable> {
        let mut call = self.scripts.swap.prepare_invoke();
        call.key(key.as_str()).arg(&held[..]);
        if let Some((value, ttl)) = &with {
            call.arg(&value[..]).arg(millis(*ttl));
        }
        self.invoke(key, &call).await
    }

    /// Runs a script with its keys, which lie where `key` does, and arguments.
    pub(crate) async fn invoke<T: FromRedisValue>(
        &self,
        key: &Key,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, StoreUnavailable> {
        let mut connection = self.connection.clone();
        let call = call.invoke_async(&mut connection);
        self.execute(self.part(key), call).await
    }

    pub(super) async fn publish(
        &self,
        name: &str,
        message: &Bytes,
    ) -> Result<(), StoreUnavailable> {
        let publish = Cmd::publish(key::channel(name), &message[..]);
        let mut connection = self.connection.clone();
        // Any node takes it.
        self.execute(0, publish.query_async(&mut connection)).await
    }

    pub(super) fn subscribe(
        self: &Arc<Self>,
        name: &'static str,
        shared: &GatewayHandles,
    ) -> broadcast::Receiver<Option<Bytes>> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(name) {
            return channel.subscribe();
        }
        let channel = broadcast::Sender::new(BACKLOG);
        let receiver = channel.subscribe();
        channels.insert(name, channel.clone());
        let (named, pause, tasks) = (self.named.clone(), self.pause, shared.tasks.clone());
        let follow = async move {
            loop {
                // Its end is a gap, even a first attempt that failed.
                let _ = follow(named.next(), name, &channel).await;
                let _ = channel.send(None);
                sleep(pause).await;
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
        receiver
    }

    /// Asks all of it at once, what lies in one part of a cluster as one question; the answers in the same order.
    async fn execute_many<T: FromRedisValue, Of>(
        &self,
        of: &[Of],
        command: impl Fn(&Of) -> (&Key, Cmd),
    ) -> Result<Vec<T>, StoreUnavailable> {
        let mut parts: BTreeMap<usize, (Vec<usize>, Pipeline)> = BTreeMap::new();
        for (at, of) in of.iter().enumerate() {
            let (key, command) = command(of);
            let (places, pipe) = parts.entry(self.part(key)).or_default();
            places.push(at);
            pipe.add_command(command);
        }
        let asked = parts.iter().map(|(part, (places, pipe))| async move {
            let mut connection = self.connection.clone();
            let answers: Vec<T> = self
                .execute(*part, pipe.query_async(&mut connection))
                .await?;
            Ok(places.iter().copied().zip(answers))
        });
        let mut answers: Vec<(usize, T)> =
            try_join_all(asked).await?.into_iter().flatten().collect();
        answers.sort_unstable_by_key(|(at, _)| *at);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// In which part of it a key lies.
    fn part(&self, key: &Key) -> usize {
        key.part(self.link.parts())
    }

    /// One question to one part, and what its answer says of that.
    async fn execute<T>(
        &self,
        part: usize,
        question: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, StoreUnavailable> {
        if !self.link.should_try(part) {
            return Err(StoreUnavailable);
        }
        match timeout(self.timeout, question).await {
            Ok(Ok(answer)) => {
                self.link.answered(part);
                Ok(answer)
            }
            Ok(Err(error)) => {
                self.link.failed(part, &error.to_string());
                Err(StoreUnavailable)
            }
            Err(_) => {
                self.link.failed(part, "no answer in time");
                Err(StoreUnavailable)
            }
        }
    }
}

/// Hands on what one connection hears, until it ends.
async fn follow(
    client: &Client,
    name: &str,
    to: &broadcast::Sender<Option<Bytes>>,
) -> Result<(), RedisError> {
    let mut connection = client.get_async_pubsub().await?;
    connection.subscribe(key::channel(name)).await?;
    // What was published before this is missed.
    let _ = to.send(None);
    let mut messages = connection.on_message();
    while let Some(message) = messages.next().await {
        let _ = to.send(Some(Bytes::copy_from_slice(message.get_payload_bytes())));
    }
    Ok(())
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}
