//! A `redis-server` of one test.

use std::path::{Path, PathBuf};

use redis::FromRedisValue;

use super::free_port;
use super::process::{Process, find};

/// A Redis server on its own port, without persistence: its data is lost when it is killed.
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    port: u16,
    running: Option<Process>,
}

impl RedisServer {
    /// Starts it; `None` if it is not installed and `REQUIRE_SERVICES` is not 1.
    pub fn start() -> Option<Self> {
        let mut server = Self {
            program: program()?,
            port: free_port(),
            running: None,
        };
        server.restart();
        Some(server)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        self.running = Some(run(&self.program, self.port, &[]));
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The `[store]` table of a gateway that uses it.
    pub fn config(&self) -> String {
        format!("[store]\nurl = \"{}\"\n", self.url())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The reply to any command.
    pub async fn ask<T: FromRedisValue>(&self, args: &[&str]) -> T {
        ask(self.port, args).await
    }
}

/// The reply of the server at `port` to any command.
pub async fn ask<T: FromRedisValue>(port: u16, args: &[&str]) -> T {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::Cmd::new();
    command.arg(args);
    command.query_async(&mut connection).await.unwrap()
}

pub(super) fn program() -> Option<PathBuf> {
    find("redis-server", "REDIS_SERVER_BIN")
}

/// Starts a server, and waits until it is ready.
pub(super) fn run(program: &Path, port: u16, extra_args: &[String]) -> Process {
    let port = port.to_string();
    let args = [
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    let args = [&args.map(str::to_owned)[..], extra_args].concat();
    Process::start_server(program, &args, "Ready to accept connections")
}
