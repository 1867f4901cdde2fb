//! A redis-server of one test.

use std::net::TcpListener;
use std::path::PathBuf;

use super::service::{Service, find};

/// It keeps nothing on disk, so that what was in it is gone when it is.
pub(crate) struct Redis {
    program: PathBuf,
    port: u16,
    running: Option<Service>,
}

impl Redis {
    /// On a free port; none when it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let program = find("redis-server", "REDIS_SERVER_BIN")?;
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut redis = Self {
            program,
            port,
            running: None,
        };
        redis.run();
        Some(redis)
    }

    /// Starts it, or starts it again on the same port.
    pub(crate) fn run(&mut self) {
        let port = self.port.to_string();
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
        let args: Vec<String> = args.map(str::to_owned).into();
        let ready = "Ready to accept connections";
        self.running = Some(Service::start(self.program.as_os_str(), &args, ready));
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// Configuration that uses it.
    pub(crate) fn config(&self) -> String {
        format!("[store]\nurl = \"redis://127.0.0.1:{}\"\n", self.port)
    }
}
