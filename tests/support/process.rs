//! A binary as whoever starts it sees it: its lines, its end, and what it serves. Included by path where the binary is.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// More than any start takes on a busy machine; reached by failures only.
const PATIENCE: Duration = Duration::from_secs(30);
/// Within this a process that was told to stop, and has nothing in progress, has stopped.
const STOPS_WITHIN: Duration = Duration::from_secs(3);

/// A process that runs. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<(From, String)>,
}

/// A process that ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Lines of standard output.
    pub(crate) out: Vec<String>,
    /// Lines of standard error.
    pub(crate) err: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum From {
    Out,
    Err,
}

/// Runs a binary, with no variables but `env`, until it ends by itself.
pub(crate) fn run(binary: &str, args: &[&str], env: &[(&str, &str)]) -> Ended {
    Process::start(binary, args, env).end(PATIENCE)
}

impl Process {
    /// Starts a binary with no variables but `env`.
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
        let (to, lines) = channel();
        forward(child.stdout.take().unwrap(), From::Out, to.clone());
        forward(child.stderr.take().unwrap(), From::Err, to);
        Self { child, lines }
    }

    /// Its lines up to the first that contains `wanted`, that one included.
    pub(crate) fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        while !seen.last().is_some_and(|line| line.contains(wanted)) {
            match self.lines.recv_timeout(PATIENCE) {
                Ok((_, line)) => seen.push(line),
                Err(error) => panic!("{wanted:?} was never said, {error}: {seen:#?}"),
            }
        }
        seen
    }

    /// Sends it a signal, `TERM` or `INT`, and it ends in time.
    pub(crate) fn stop(self, signal: &str) -> Ended {
        let kill = format!("kill -{signal} {}", self.child.id());
        let told = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(told.success(), "{kill}");
        self.end(STOPS_WITHIN)
    }

    /// Its pipes close when it ends.
    fn end(mut self, within: Duration) -> Ended {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match self.lines.recv_timeout(within) {
                Ok((From::Out, line)) => out.push(line),
                Ok((From::Err, line)) => err.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("still runs: {out:#?} {err:#?}"),
            }
        }
        let code = self.child.wait().unwrap().code();
        Ended { code, out, err }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about either.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Ended {
    /// The line of a start that was refused: the only one, with exit code 64.
    pub(crate) fn refusal(&self) -> &str {
        let [line] = &self.err[..] else {
            panic!("not one line: {self:#?}");
        };
        assert_eq!((self.code, &self.out[..]), (Some(64), &[][..]), "{line}");
        line
    }
}

fn forward(pipe: impl Read + Send + 'static, from: From, to: Sender<(From, String)>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            // Nobody reads any more once the test is over, and then this ends too.
            to.send((from, line.unwrap())).ok();
        }
    });
}

/// One request over HTTP/1.0, where a body ends with its connection: the status and the body.
pub(crate) fn ask(method: &str, url: &str, headers: &[String], body: &str) -> (u16, String) {
    try_ask(method, url, headers, body).unwrap()
}

/// The same of whoever may end before it has answered.
pub(crate) fn try_ask(
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
    stream.set_read_timeout(Some(PATIENCE))?;
    let own = [
        format!("Host: {host}"),
        format!("Content-Length: {}", body.len()),
    ];
    let head = [headers, &own].concat().join("\r\n");
    write!(stream, "{method} /{path} HTTP/1.0\r\n{head}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let parts = answer.split_once("\r\n\r\n");
    let (head, body) = parts.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap();
    Ok((status.parse().unwrap(), body.to_owned()))
}

/// Whether anybody accepts connections there, `host:port`.
pub(crate) fn listens(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}
