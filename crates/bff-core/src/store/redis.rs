//! The store in Redis, one server or a cluster: what each question is, and how long it may take.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisError, Script, ScriptInvocation};
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::memory::BACKLOG;
use super::way::{Named, Way};
use super::{Away, Config, Kept, Key, Record, key};
use crate::config::Secret;
use crate::context::{Shared, World};

/// Deletes what the holder still holds.
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// Records in Redis.
pub struct Redis {
    named: Arc<Named>,
    connection: Way,
    link: Link,
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
    pub(super) fn open(config: &Config, url: &Secret, _: &World) -> Result<Arc<Self>, String> {
        let (connection, named) = Way::open(config, url)?;
        Ok(Arc::new(Self {
            named: Arc::new(named),
            connection,
            link: Link::new(config.pause),
            timeout: config.timeout,
            pause: config.pause,
            scripts: Scripts {
                release: Script::new(RELEASE),
                put_new: Script::new(include_str!("put_new.lua")),
                swap: Script::new(include_str!("swap.lua")),
            },
            channels: Mutex::default(),
        }))
    }

    pub(super) fn is_away(&self) -> bool {
        self.link.is_away()
    }

    pub(super) async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, Away> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        // Not MGET: a cluster would want all keys in one slot.
        let mut pipe = Pipeline::with_capacity(keys.len());
        for key in keys {
            pipe.get(key.as_str());
        }
        let values: Vec<Option<Vec<u8>>> = self.pipe(&pipe).await?;
        Ok(values.into_iter().map(|v| v.map(Bytes::from)).collect())
    }

    pub(super) async fn put_many(&self, records: &[Record]) -> Result<(), Away> {
        let mut pipe = Pipeline::with_capacity(records.len());
        for record in records {
            let ttl = millis(record.ttl);
            pipe.pset_ex(record.key.as_str(), &record.value[..], ttl)
                .ignore();
        }
        self.tell(&pipe).await
    }

    pub(super) async fn delete_many(&self, keys: &[Key]) -> Result<(), Away> {
        let mut pipe = Pipeline::with_capacity(keys.len());
        for key in keys {
            pipe.unlink(key.as_str()).ignore();
        }
        self.tell(&pipe).await
    }

    pub(super) async fn lease(
        &self,
        key: &Key,
        token: &Bytes,
        ttl: Duration,
    ) -> Result<bool, Away> {
        let mut set = Cmd::new();
        set.arg("SET").arg(key.as_str()).arg(&token[..]);
        set.arg("NX").arg("PX").arg(millis(ttl));
        let mut connection = self.connection.clone();
        let answer: Option<String> = self.ask(set.query_async(&mut connection)).await?;
        Ok(answer.is_some())
    }

    pub(super) async fn release(&self, key: &Key, token: &Bytes) -> Result<(), Away> {
        let mut call = self.scripts.release.prepare_invoke();
        call.key(key.as_str()).arg(&token[..]);
        let mut connection = self.connection.clone();
        let _: u32 = self.ask(call.invoke_async(&mut connection)).await?;
        Ok(())
    }

    pub(super) async fn put_new(&self, record: &Record) -> Result<Option<Kept>, Away> {
        let mut call = self.scripts.put_new.prepare_invoke();
        call.key(record.key.as_str());
        call.arg(&record.value[..]).arg(millis(record.ttl));
        let mut connection = self.connection.clone();
        let there: Option<(Vec<u8>, u64)> = self.ask(call.invoke_async(&mut connection)).await?;
        Ok(there.map(|(value, left)| Kept {
            value: value.into(),
            left: Duration::from_millis(left),
        }))
    }

    pub(super) async fn swap(
        &self,
        key: &Key,
        held: &Bytes,
        with: Option<(Bytes, Duration)>,
    ) -> Result<bool, Away> {
        let mut call = self.scripts.swap.prepare_invoke();
        call.key(key.as_str()).arg(&held[..]);
        if let Some((value, ttl)) = &with {
            call.arg(&value[..]).arg(millis(*ttl));
        }
        let mut connection = self.connection.clone();
        self.ask(call.invoke_async(&mut connection)).await
    }

    /// Runs a script on keys that lie in one slot.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[u64],
    ) -> Result<T, Away> {
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(*key);
        }
        for arg in args {
            call.arg(*arg);
        }
        let mut connection = self.connection.clone();
        self.ask(call.invoke_async(&mut connection)).await
    }

    /// Runs a script with its keys, which lie in one slot, and arguments.
    pub(crate) async fn invoke<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, Away> {
        let mut connection = self.connection.clone();
        self.ask(call.invoke_async(&mut connection)).await
    }

    pub(super) async fn publish(&self, name: &str, message: &Bytes) -> Result<(), Away> {
        let publish = Cmd::publish(key::channel(name), &message[..]);
        let mut connection = self.connection.clone();
        self.ask(publish.query_async(&mut connection)).await
    }

    pub(super) fn subscribe(
        self: &Arc<Self>,
        name: &'static str,
        shared: &Shared,
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

    /// Does all of it at once. Nothing is not asked: the library calls that a mistake, and Redis would seem to be away.
    async fn tell(&self, pipe: &Pipeline) -> Result<(), Away> {
        if pipe.is_empty() {
            return Ok(());
        }
        self.pipe(pipe).await
    }

    /// Asks all of it at once.
    async fn pipe<T: FromRedisValue>(&self, pipe: &Pipeline) -> Result<T, Away> {
        let mut connection = self.connection.clone();
        self.ask(pipe.query_async(&mut connection)).await
    }

    /// One question, and what its answer says of Redis.
    async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Away> {
        if !self.link.may_ask() {
            return Err(Away);
        }
        match timeout(self.timeout, question).await {
            Ok(Ok(answer)) => {
                self.link.answered();
                Ok(answer)
            }
            Ok(Err(error)) => {
                self.link.failed(&error.to_string());
                Err(Away)
            }
            Err(_) => {
                self.link.failed("no answer in time");
                Err(Away)
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
