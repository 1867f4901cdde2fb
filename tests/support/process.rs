//! Runs a binary and reads its output, its exit code and its HTTP responses. Other test crates include this file by
//! path.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Longer than any start or stop takes on a busy machine. Only a failure reaches it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running process. Dropping it kills the process.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<(Stream, String)>,
}

/// The output and exit code of a process that ended by itself.
#[derive(Debug)]
pub(crate) struct ExitResult {
    pub(crate) code: Option<i32>,
    /// The lines of standard output.
    pub(crate) out: Vec<String>,
    /// The lines of standard error.
    pub(crate) err: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stream {
    Out,
    Err,
}

/// Runs a binary, with only the variables `env`, until it ends by itself.
pub(crate) fn run(binary: &str, args: &[&str], env: &[(&str, &str)]) -> ExitResult {
    Process::start(binary, args, env).wait_for_exit()
}

impl Process {
    /// Starts a binary with only the variables `env`.
    pub(crate) fn start(binary: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(binary)
            .args(args)
            .env_clear()
            .envs(env.iter().copied())
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
    pub(crate) fn read_until(&mut self, text: &str) -> Vec<String> {
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
    pub(crate) fn stop(self, signal: &str) -> ExitResult {
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
    pub(crate) fn startup_error(&self) -> &str {
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

/// Sends one request over HTTP/1.0, where the body ends with the connection. Returns the status and the body.
pub(crate) fn request(method: &str, url: &str, headers: &[String], body: &str) -> (u16, String) {
    try_request(method, url, headers, body).unwrap()
}

/// Sends one request to a process that may end before it responds.
pub(crate) fn try_request(
    method: &str,
    url: &str,
    headers: &[String],
    body: &str,
) -> io::Result<(u16, String)> {
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let framing = [
        format!("Host: {host}"),
        format!("Content-Length: {}", body.len()),
    ];
    let head = [headers, &framing].concat().join("\r\n");
    write!(stream, "{method} /{path} HTTP/1.0\r\n{head}\r\n\r\n{body}")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let parts = response.split_once("\r\n\r\n");
    let (head, body) = parts.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap();
    Ok((status.parse().unwrap(), body.to_owned()))
}

/// Whether a process accepts connections at `host:port`.
pub(crate) fn is_listening(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}
