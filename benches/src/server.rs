//! A server as a process of its own: started, watched, and ended by its id when nobody holds it any more.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use http::uri::Authority;
use tokio::sync::oneshot;

use crate::args::Upstreams;
use crate::{Result, cpu};

/// How long a server may take to listen.
pub(crate) const START: Duration = Duration::from_secs(15);

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    name: String,
    child: Child,
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
        let (server, _) = Self::start(&name, path, args, env)?;
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
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about either.
        self.child.kill().ok();
        self.child.wait().ok();
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
