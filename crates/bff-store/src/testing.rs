//! Servers and captured logs for tests. Only dev-dependencies enable the feature of this module.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test fails if its server does not start"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::{Config, Key, Namespace, Store};
use bff_config::Secret;
use bff_runtime::net::Env;

pub use cluster::Cluster;

mod cluster;

/// A redis-server of one test, on its own port.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    port: u16,
    child: Child,
}

impl Server {
    /// Starts it; `None` if it is not installed and `REQUIRE_SERVICES` is not 1.
    pub fn start() -> Option<Self> {
        let program = program()?;
        let port = free_port();
        let child = run(&program, port, &[]);
        Some(Self {
            program,
            port,
            child,
        })
    }

    /// A store on this server.
    pub fn store(&self) -> Store {
        store_at(self.url())
    }

    /// A store on this server with its own timeouts.
    pub fn store_with_timeouts(&self, timeout: Duration, retry_interval: Duration) -> Store {
        store_with_timeouts(self.url(), timeout, retry_interval)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The reply to any command.
    pub async fn ask<T: redis::FromRedisValue>(&self, args: &[&str]) -> T {
        ask(self.port, args).await
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().expect("the test server must run");
        self.child.wait().expect("the test server must run");
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        self.child = run(&self.program, self.port, &[]);
    }
}

/// The reply of the server at `port` to any command.
pub async fn ask<T: redis::FromRedisValue>(port: u16, args: &[&str]) -> T {
    let client =
        redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("the test server must run");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("the test server must run");
    let mut command = redis::Cmd::new();
    command.arg(args);
    command
        .query_async(&mut connection)
        .await
        .expect("the test server must run")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A store on a server.
fn store_at(url: String) -> Store {
    // Generous, because a test machine is busy.
    store_with_timeouts(url, Duration::from_secs(2), Duration::from_millis(20))
}

fn store_with_timeouts(url: String, timeout: Duration, retry_interval: Duration) -> Store {
    let config = Config {
        url: Some(Secret::new(url)),
        timeout,
        retry_interval,
        ..Config::default()
    };
    Store::open(&config, &Env::real()).expect("the test server must run")
}

#[expect(clippy::disallowed_methods, reason = "a test is not a gateway")]
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join("redis-server"));
    let program = candidates.find(|file| file.is_file());
    if program.is_none() {
        let required = std::env::var_os("REQUIRE_SERVICES").is_some_and(|v| v == "1");
        assert!(!required, "redis-server is not installed");
        eprintln!("skipped: redis-server is not installed");
    }
    program
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("the test server must run");
    free.local_addr().expect("the test server must run").port()
}

fn run(program: &Path, port: u16, extra_args: &[String]) -> Child {
    Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .args(extra_args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the test server must run")
}

/// Waits until the server answers.
pub async fn wait_until_available(store: &Store) {
    let namespace = Namespace {
        name: "test",
        evictable: true,
    };
    let key = Key::of(namespace, b"there", &[]);
    for _ in 0..500 {
        if store.get_many(std::slice::from_ref(&key)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the store never became available");
}

/// Captured log lines.
#[derive(Clone, Debug, Default)]
pub struct CapturedLogs(Arc<parking_lot::Mutex<Vec<u8>>>);

impl CapturedLogs {
    /// Captures the log lines of this thread while the guard lives.
    pub fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let logs = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        tracing::subscriber::set_default(subscriber.with_writer(move || logs.clone()).finish())
    }

    /// The number of lines that contain `text`.
    pub fn count(&self, text: &str) -> usize {
        let logs = String::from_utf8(self.0.lock().clone()).expect("log lines are UTF-8");
        logs.lines().filter(|line| line.contains(text)).count()
    }
}

impl std::io::Write for CapturedLogs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
