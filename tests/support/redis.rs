//! Runs a `redis-server` for one test.

use std::net::TcpListener;
use std::path::PathBuf;

use super::service::{Service, find};

/// A Redis server without persistence: its data is lost when it is killed.
pub(crate) struct Redis {
    program: PathBuf,
    port: u16,
    running: Option<Service>,
}

impl Redis {
    /// Starts Redis on a free port; `None` if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let program = find("redis-server", "REDIS_SERVER_BIN")?;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut redis = Self {
            program,
            port,
            running: None,
        };
        redis.run();
        Some(redis)
    }

    /// Starts or restarts Redis on the same port.
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
        let ready_line = "Ready to accept connections";
        self.running = Some(Service::start(self.program.as_os_str(), &args, ready_line));
    }

    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// The gateway configuration that uses this server.
    pub(crate) fn config(&self) -> String {
        format!("[store]\nurl = \"redis://127.0.0.1:{}\"\n", self.port)
    }
}
