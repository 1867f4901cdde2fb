//! Runs a third-party program, such as Redis or Consul, for one test if it is installed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longer than any start takes on a busy machine. Only a failure reaches it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Finds a program at the path in the environment variable `variable`, or on `PATH`. `None` means: skip the test.
/// Panics instead if `REQUIRE_SERVICES=1`.
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no configuration file"
)]
pub(crate) fn find(program: &str, variable: &str) -> Option<PathBuf> {
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
pub(crate) struct Service {
    child: Child,
    lines: Receiver<String>,
}

impl Service {
    /// Starts a program and waits for a line that contains `ready_line` on standard output or standard error.
    pub(crate) fn start(program: &OsStr, args: &[String], ready_line: &str) -> Self {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let pipes: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for pipe in pipes {
            let sender = sender.clone();
            // A pipe that is not read to its end fills and blocks the process.
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    sender.send(line).ok();
                }
            });
        }
        let service = Self { child, lines };
        service.read_until(ready_line);
        service
    }

    fn read_until(&self, text: &str) {
        let mut lines: Vec<String> = Vec::new();
        while !lines.last().is_some_and(|line| line.contains(text)) {
            match self.lines.recv_timeout(TIMEOUT) {
                Ok(line) => lines.push(line),
                Err(error) => panic!("no line contains {text:?}, {error}: {lines:#?}"),
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both fail if the process has ended already, which is no error here.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
