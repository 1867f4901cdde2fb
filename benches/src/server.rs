//! A server process: it is started, monitored, and stopped when its handle is dropped.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::{Result, cpu};

/// The maximum start-up time of a server.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(15);

/// The maximum shutdown time of a server.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval of checks for the end of a process.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A running server. Dropping it stops the process.
pub(crate) struct Server {
    name: String,
    child: Child,
    /// Whether SIGTERM stops it. A part of this binary stops when its standard input is closed.
    stops_by_signal: bool,
}

impl Server {
    /// Starts a part of this binary. Also returns the ports that it announces.
    pub(crate) async fn part(name: &str, args: &[String]) -> Result<(Self, Vec<u16>)> {
        let program = std::env::current_exe()?;
        let args = [&[name.to_owned()], args].concat();
        let (server, first_line) = Self::start(name, &program, &args, &[])?;
        let line = tokio::time::timeout(START_TIMEOUT, first_line).await;
        let line = line.map_err(|_| format!("{name} announced no port in {START_TIMEOUT:?}"))?;
        let line = line.map_err(|_| format!("{name} ended before it listened"))?;
        let ports: Result<Vec<u16>, _> = line.split_whitespace().map(str::parse).collect();
        Ok((server, ports?))
    }

    /// Starts a program with these arguments and only these environment variables.
    pub(crate) fn program(path: &Path, args: &[String], env: &[(&str, String)]) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The first line is not used. A thread reads the log in any case.
        let (mut server, _) = Self::start(&name, path, args, env)?;
        server.stops_by_signal = true;
        Ok(server)
    }

    fn start(
        name: &str,
        program: &Path,
        args: &[impl AsRef<OsStr>],
        env: &[(&str, String)],
    ) -> Result<(Self, oneshot::Receiver<String>)> {
        let started = Command::new(program)
            .args(args)
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let child = started.map_err(|e| format!("cannot start {}: {e}", program.display()))?;
        let mut server = Self {
            name: name.to_owned(),
            child,
            stops_by_signal: false,
        };
        let stdout = server.child.stdout.take().ok_or("a pipe is missing")?;
        let (sender, first_line) = oneshot::channel();
        std::thread::spawn(move || drain_stdout(stdout, sender));
        Ok((server, first_line))
    }

    /// Fails if the process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => Err(format!("{} ended: {status}", self.name).into()),
            None => Ok(()),
        }
    }

    /// The CPU time that the process has used.
    pub(crate) fn cpu(&self) -> Result<cpu::CpuTime> {
        cpu::CpuTime::of(self.child.id())
    }
}

impl Drop for Server {
    /// Stops the process with SIGTERM, so that an instrumented one can write its profile. It is killed after
    /// [`STOP_TIMEOUT`].
    fn drop(&mut self) {
        // These calls fail only if the process has already ended.
        self.child.stdin.take();
        if self.stops_by_signal {
            let id = self.child.id().to_string();
            Command::new("kill").args(["-TERM", &id]).status().ok();
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                self.child.kill().ok();
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Sends the first line to `first` and discards the rest. A full pipe would block the process.
fn drain_stdout(stdout: ChildStdout, first: oneshot::Sender<String>) {
    let mut stdout = BufReader::with_capacity(64 << 10, stdout);
    let mut line = String::new();
    if stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        first.send(line).ok();
    }
    std::io::copy(&mut stdout, &mut std::io::sink()).ok();
}
