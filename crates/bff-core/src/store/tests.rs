//! One suite for both sides; and what only one side can show.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio_util::task::TaskTracker;

use super::{Config, Key, Namespace, Record, Store, StoreUnavailable};
use crate::config::Secret;
use crate::context::{Env, GatewayHandles};
use crate::telemetry::Metrics;

pub(crate) mod cluster;

const CACHE: Namespace = Namespace {
    name: "test",
    evictable: true,
};
const KEPT: Namespace = Namespace {
    name: "kept",
    evictable: false,
};

/// A redis-server of one test, on a port of its own.
pub(crate) struct Server {
    program: PathBuf,
    port: u16,
    child: Child,
}

impl Server {
    /// None when it is not installed, and that is allowed.
    pub(crate) fn start() -> Option<Self> {
        let program = program()?;
        let port = free_port();
        let child = run(&program, port, &[]);
        Some(Self {
            program,
            port,
            child,
        })
    }

    pub(crate) fn store(&self) -> Store {
        at(self.url())
    }

    pub(crate) fn store_that_waits(&self, timeout: Duration, pause: Duration) -> Store {
        waits(self.url(), timeout, pause)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it says to any command.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        ask(self.port, words).await
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.child = run(&self.program, self.port, &[]);
    }
}

/// What the server at `port` says to any command.
pub(crate) async fn ask<T: redis::FromRedisValue>(port: u16, words: &[&str]) -> T {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::Cmd::new();
    command.arg(words);
    command.query_async(&mut connection).await.unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A store there.
fn at(url: String) -> Store {
    // The machine that runs tests is busy with other things too.
    waits(url, Duration::from_secs(2), Duration::from_millis(20))
}

fn waits(url: String, timeout: Duration, pause: Duration) -> Store {
    let config = Config {
        url: Some(Secret::new(url)),
        timeout,
        retry_interval: pause,
        ..Config::default()
    };
    Store::open(&config, &Env::real()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "tests are no gateways")]
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join("redis-server"));
    let program = places.find(|place| place.is_file());
    if program.is_none() {
        let required = std::env::var_os("REQUIRE_SERVICES").is_some_and(|v| v == "1");
        assert!(!required, "redis-server is not installed");
        eprintln!("skipped: redis-server is not installed");
    }
    program
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

fn run(program: &PathBuf, port: u16, more: &[String]) -> Child {
    Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Until it answers; a real server takes a moment to start.
pub(crate) async fn until_there(store: &Store) {
    for _ in 0..500 {
        if store.get_many(&[key("there")]).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came");
}

/// Both sides, each with the time to let pass between what ends and what does not.
pub(super) async fn sides() -> Vec<(Store, Option<Server>)> {
    let mut sides = vec![(Store::memory(1 << 20, &Env::real()), None)];
    if let Some(server) = Server::start() {
        let store = server.store();
        until_there(&store).await;
        sides.push((store, Some(server)));
    }
    sides
}

/// What was logged.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<parking_lot::Mutex<Vec<u8>>>);

impl Lines {
    /// Hears what this thread logs while the guard lives.
    pub(crate) fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let lines = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        tracing::subscriber::set_default(subscriber.with_writer(move || lines.clone()).finish())
    }

    /// How many lines say this.
    pub(crate) fn told(&self, what: &str) -> usize {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().filter(|line| line.contains(what)).count()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn shared() -> Arc<GatewayHandles> {
    Arc::new(GatewayHandles {
        client: HeaderValue::from_static("test"),
        env: Env::real(),
        tasks: TaskTracker::new(),
        shutdown: tokio_util::sync::CancellationToken::new(),
        metrics: Metrics::noop(),
        cache: crate::cache::Cache::new(&crate::cache::Config::default(), &Env::real()),
        fields: crate::section::fields::FieldCache::default(),
    })
}

fn key(name: &str) -> Key {
    Key::of(CACHE, name.as_bytes(), &[])
}

fn record(name: &str, value: &'static str, ttl: Duration) -> Record {
    Record {
        key: key(name),
        value: Bytes::from_static(value.as_bytes()),
        ttl,
    }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(40);

#[tokio::test]
async fn what_is_put_is_got_until_it_ends_or_is_deleted() {
    for (store, _server) in sides().await {
        let records = vec![
            record("a", "1", LONG),
            record("b", "2", LONG),
            record("c", "3", SHORT),
        ];
        store.put_many(records).await.unwrap();
        store.put_many(vec![record("a", "4", LONG)]).await.unwrap();
        let keys = [key("b"), key("none"), key("a")];
        let got = store.get_many(&keys).await.unwrap();
        assert_eq!(got, [Some("2".into()), None, Some("4".into())]);
        // Nothing at all is no mistake.
        assert_eq!(store.get_many(&[]).await.unwrap(), [] as [Option<Bytes>; 0]);
        store.put_many(Vec::new()).await.unwrap();
        store.delete_many(&[]).await.unwrap();
        tokio::time::sleep(SHORT + SHORT).await;
        assert_eq!(store.get_many(&[key("c")]).await.unwrap(), [None]);
        store.delete_many(&[key("a"), key("none")]).await.unwrap();
        assert_eq!(
            store.get_many(&keys).await.unwrap(),
            [Some("2".into()), None, None]
        );
    }
}

#[tokio::test]
async fn a_right_has_one_holder_and_only_that_one_gives_it_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let store = server.store();
    until_there(&store).await;
    let Store::Redis(redis) = &store else {
        unreachable!()
    };
    let key = Key::of(KEPT, b"lease", &[]);
    let [one, two] = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    assert_eq!(redis.lease(&key, &one, SHORT).await, Ok(true));
    assert_eq!(redis.lease(&key, &two, LONG).await, Ok(false));
    tokio::time::sleep(SHORT + SHORT).await;
    assert_eq!(redis.lease(&key, &two, LONG).await, Ok(true));
    // Too late: it is somebody else's.
    redis.release(&key, &one).await.unwrap();
    assert_eq!(redis.lease(&key, &one, LONG).await, Ok(false));
    redis.release(&key, &two).await.unwrap();
    assert_eq!(redis.lease(&key, &one, LONG).await, Ok(true));
}

#[tokio::test]
async fn what_is_published_reaches_every_subscriber() {
    let shared = shared();
    for (store, _server) in sides().await {
        let mut one = store.subscribe("purge", &shared);
        let mut two = store.subscribe("purge", &shared);
        if matches!(store, Store::Redis(_)) {
            // The gap before the connection stood.
            assert_eq!((one.next().await, two.next().await), (None, None));
        }
        store
            .publish("purge", Bytes::from_static(b"x"))
            .await
            .unwrap();
        assert_eq!(one.next().await, Some("x".into()));
        assert_eq!(two.next().await, Some("x".into()));
    }
}

#[tokio::test]
async fn a_record_is_put_where_there_is_none_and_swapped_while_it_is_the_same() {
    for (store, _server) in sides().await {
        let put = async |value| {
            store
                .insert_if_absent(&record("new", value, LONG))
                .await
                .unwrap()
        };
        assert_eq!(put("1").await, None);
        let there = put("2").await.unwrap();
        assert_eq!(there.value, "1");
        assert!(there.left <= LONG && there.left + Duration::from_secs(10) > LONG);
        let swap = async |held: &'static str, with: Option<(&'static str, Duration)>| {
            let with = with.map(|(value, ttl)| (Bytes::from(value), ttl));
            let held = Bytes::from(held);
            store
                .compare_and_swap(&key("new"), &held, with)
                .await
                .unwrap()
        };
        assert!(!swap("2", Some(("3", LONG))).await);
        assert!(swap("1", Some(("3", SHORT))).await);
        assert_eq!(put("4").await.unwrap().value, "3");
        tokio::time::sleep(SHORT + SHORT).await;
        assert!(!swap("3", None).await, "its time was up");
        assert_eq!(put("5").await, None);
        assert!(swap("5", None).await);
        assert_eq!(store.get_many(&[key("new")]).await.unwrap(), [None]);
    }
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_only_what_may_be_forgotten_is() {
    let most = 64 << 10;
    // Seeded, for by chance one of its parts may have less room than it is given here.
    let store = Store::memory(most, &Env::seeded(1, crate::net::Net::Tcp));
    let Store::Memory(memory) = &store else {
        unreachable!()
    };
    let put = |space, i: u32| Record {
        key: Key::of(space, &i.to_le_bytes(), &[]),
        value: Bytes::from_static(&[0; 100]),
        ttl: LONG,
    };
    let mut kept = Vec::new();
    for i in 0..10_000 {
        if store.put_many(vec![put(KEPT, i)]).await.is_ok() {
            kept.push(put(KEPT, i).key);
        }
        store.put_many(vec![put(CACHE, i)]).await.unwrap();
    }
    assert!(memory.held().1 <= 2 * most);
    assert!(kept.len() > 100 && kept.len() < 1000);
    let got = store.get_many(&kept).await.unwrap();
    assert!(got.iter().all(Option::is_some));
    assert_eq!(
        store.put_many(vec![put(KEPT, 10_000)]).await,
        Err(StoreUnavailable)
    );
    // What has ended is forgotten by whatever is written next.
    tokio::time::advance(LONG).await;
    let before = memory.held().0;
    for i in 0..64 {
        store
            .put_many(vec![put(KEPT, i), put(CACHE, i)])
            .await
            .unwrap();
    }
    assert!(memory.held().0 < before / 2 && memory.held().0 >= 128);
}

#[tokio::test]
async fn redis_may_go_and_come_back() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let store = server.store();
    until_there(&store).await;
    store.put_many(vec![record("a", "1", LONG)]).await.unwrap();
    server.kill();
    assert_eq!(store.get_many(&[key("a")]).await, Err(StoreUnavailable));
    assert_eq!(store.as_str(), "unavailable");
    server.restart();
    until_there(&store).await;
    assert_eq!(store.as_str(), "redis");
    assert_eq!(store.get_many(&[key("a")]).await.unwrap(), [None]);
}

#[tokio::test]
async fn silence_is_an_answer_after_the_timeout() {
    // A listener that nobody accepts from.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config {
        url: Some(Secret::new(format!(
            "redis://{}",
            silent.local_addr().unwrap()
        ))),
        ..Config::default()
    };
    let store = Store::open(&config, &Env::real()).unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(store.get_many(&[key("a")]).await, Err(StoreUnavailable));
    assert!(begun.elapsed() >= config.timeout);
    // And then it is not asked for a while.
    let begun = tokio::time::Instant::now();
    assert_eq!(store.get_many(&[key("a")]).await, Err(StoreUnavailable));
    assert!(begun.elapsed() < config.timeout);
}

#[test]
fn keys_say_where_they_lie_and_hide_what_they_are_of() {
    let one = Key::of(CACHE, b"alice", &[b"a", b"bc"]);
    let two = Key::of(CACHE, b"alice", &[b"ab", b"c"]);
    assert_ne!(one, two);
    let tag = |key: &Key| key.as_str().split(['{', '}']).nth(1).unwrap().to_owned();
    assert_eq!(tag(&one), tag(&two));
    assert!(one.as_str().starts_with("bff1:test:{") && !one.as_str().contains("alice"));
    assert_ne!(tag(&one), tag(&Key::of(CACHE, b"bob", &[])));
}
