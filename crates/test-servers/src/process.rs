//! A process of one test: its output and its exit code.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Longer than any start or stop takes on a busy machine. Only a failure reaches it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Finds a program at the path in the environment variable `variable`, or on `PATH`. `None` means: skip the test.
/// Panics instead if `REQUIRE_SERVICES=1`.
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no configuration file"
)]
pub fn find(program: &str, variable: &str) -> Option<PathBuf> {
    let configured = std::env::var_os(variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian installs daemons in /usr/sbin, which is not on an ordinary user's PATH.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut candidates = (configured.into_iter()).chain(folders.map(|f| f.join(program)));
    let found = candidates.find(|candidate| candidate.is_file());
    if found.is_none() {
        let required = std::env::var_os("REQUIRE_SERVICES").is_some_and(|v| v == "1");
        assert!(!required, "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// A running process. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<(Stream, String)>,
}

/// The output and exit code of a process that ended by itself.
#[derive(Debug)]
pub struct ExitResult {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The lines of standard output.
    pub out: Vec<String>,
    /// The lines of standard error.
    pub err: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stream {
    Out,
    Err,
}

/// Runs a binary, with only the variables `env`, until it ends by itself.
pub fn run(binary: &str, args: &[&str], env: &[(&str, &str)]) -> ExitResult {
    Process::start(binary, args, env).wait_for_exit()
}

impl Process {
    /// Starts a binary with only the variables `env`.
    pub fn start(binary: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary);
        Self::spawn(command.args(args).env_clear().envs(env.iter().copied()))
    }

    /// Starts a server and waits for a line that contains `ready_line`. It gets the variables of this process.
    pub fn start_server(program: &Path, args: &[String], ready_line: &str) -> Self {
        let mut server = Self::spawn(Command::new(program).args(args));
        server.read_until(ready_line);
        server
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        forward_lines(child.stdout.take().unwrap(), Stream::Out, sender.clone());
        forward_lines(child.stderr.take().unwrap(), Stream::Err, sender);
        Self { child, lines }
    }

    /// Reads lines up to the first that contains `text`, and returns them all.
    pub fn read_until(&mut self, text: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while !lines.last().is_some_and(|line| line.contains(text)) {
            match self.lines.recv_timeout(TIMEOUT) {
                Ok((_, line)) => lines.push(line),
                Err(error) => panic!("no line contains {text:?}, {error}: {lines:#?}"),
            }
        }
        lines
    }

    /// Sends a signal, `TERM` or `INT`, and waits for the exit.
    pub fn stop(self, signal: &str) -> ExitResult {
        let kill = format!("kill -{signal} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success(), "{kill}");
        self.wait_for_exit()
    }

    /// Reads its pipes until they close, which they do when it ends.
    fn wait_for_exit(mut self) -> ExitResult {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match self.lines.recv_timeout(TIMEOUT) {
                Ok((Stream::Out, line)) => out.push(line),
                Ok((Stream::Err, line)) => err.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("still runs: {out:#?} {err:#?}"),
            }
        }
        let code = self.child.wait().unwrap().code();
        ExitResult { code, out, err }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if the process has ended already, which is no error here.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl ExitResult {
    /// Asserts that the process refused its configuration: exit code 64 and one line on stderr, which it returns.
    pub fn startup_error(&self) -> &str {
        let [line] = &self.err[..] else {
            panic!("expected exactly one line on stderr: {self:#?}");
        };
        assert_eq!((self.code, &self.out[..]), (Some(64), &[][..]), "{line}");
        line
    }
}

fn forward_lines(
    pipe: impl Read + Send + 'static,
    stream: Stream,
    sender: Sender<(Stream, String)>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            // The receiver is dropped when the test is over.
            sender.send((stream, line.unwrap())).ok();
        }
    });
}
