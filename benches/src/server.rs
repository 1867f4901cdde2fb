//! A server as a process of its own: started, watched, and ended by its id when nobody holds it any more.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use http::uri::Authority;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::args::Upstreams;
use crate::{Result, cpu};

/// How long a server may take to listen.
pub(crate) const START: Duration = Duration::from_secs(15);

/// How long a server may take to end.
const END: Duration = Duration::from_secs(10);

/// How often one that ends is asked whether it has.
const POLL: Duration = Duration::from_millis(10);

/// A running server. Dropping it ends it.
pub(crate) struct Server {
    name: String,
    child: Child,
    /// Whether it ends at SIGTERM. A part of this binary ends when its standard input does.
    by_signal: bool,
}

impl Server {
    /// Starts a part of this binary; answers the ports that it announces.
    pub(crate) async fn part(name: &str, args: &[String]) -> Result<(Self, Vec<u16>)> {
        let program = std::env::current_exe()?;
        let args = [&[name.to_owned()], args].concat();
        let (server, first_line) = Self::start(name, &program, &args, &[])?;
        let line = tokio::time::timeout(START, first_line).await;
        let line = line.map_err(|_| format!("{name} announced no port in {START:?}"))?;
        let line = line.map_err(|_| format!("{name} ended before it listened"))?;
        let ports: Result<Vec<u16>, _> = line.split_whitespace().map(str::parse).collect();
        Ok((server, ports?))
    }

    /// Starts a program with these arguments, these variables and no others.
    pub(crate) fn program(path: &Path, args: &[String], env: &[(&str, String)]) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Nobody waits for its first line, but somebody has to read what it logs.
        let (mut server, _) = Self::start(&name, path, args, env)?;
        server.by_signal = true;
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
            by_signal: false,
        };
        let stdout = server.child.stdout.take().ok_or("a pipe is missing")?;
        let (to, first_line) = oneshot::channel();
        std::thread::spawn(move || read(stdout, to));
        Ok((server, first_line))
    }

    /// An error if the process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => Err(format!("{} ended: {status}", self.name).into()),
            None => Ok(()),
        }
    }

    /// The CPU time its process has used so far.
    pub(crate) fn cpu(&self) -> Result<cpu::Used> {
        cpu::Used::by(self.child.id())
    }
}

impl Drop for Server {
    /// Ends it as an operator would, so that one which counts itself (a profiler's) can say what it found. It is killed
    /// if it has not ended after [`END`].
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about any of these.
        self.child.stdin.take();
        if self.by_signal {
            let id = self.child.id().to_string();
            Command::new("kill").args(["-TERM", &id]).status().ok();
        }
        let deadline = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                self.child.kill().ok();
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Hands on the first line and throws the rest away: a full pipe would stop the one who writes.
fn read(stdout: ChildStdout, first: oneshot::Sender<String>) {
    let mut stdout = BufReader::with_capacity(64 << 10, stdout);
    let mut line = String::new();
    if stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        first.send(line).ok();
    }
    std::io::copy(&mut stdout, &mut std::io::sink()).ok();
}

impl Upstreams {
    /// Backends at three ports of this machine.
    pub(crate) fn at(ports: &[u16]) -> Result<Self> {
        let &[product, review, inventory] = ports else {
            return Err(format!("three backends announced {} ports", ports.len()).into());
        };
        let at = |port: u16| format!("127.0.0.1:{port}").parse::<Authority>();
        Ok(Self {
            product: at(product)?,
            review: at(review)?,
            inventory: at(inventory)?,
        })
    }

    /// As the arguments of a part.
    pub(crate) fn to_args(&self) -> Vec<String> {
        vec![
            format!("--product={}", self.product),
            format!("--review={}", self.review),
            format!("--inventory={}", self.inventory),
        ]
    }
}
