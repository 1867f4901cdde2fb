//! A program of somebody else, if it is installed, run for one test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// More than any start takes on a busy machine; reached by failures only.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a program is: in the place that `variable` names, or on the path. None when the test is to be skipped.
#[expect(clippy::disallowed_methods, reason = "tests are no gateways")]
pub(crate) fn find(program: &str, variable: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps daemons where only root looks for them.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut places = named.into_iter().chain(folders.map(|f| f.join(program)));
    let found = places.find(|place| place.is_file());
    if found.is_none() {
        let required = std::env::var_os("REQUIRE_SERVICES").is_some_and(|v| v == "1");
        assert!(!required, "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// A process that runs. Dropping it kills it.
pub(crate) struct Service {
    child: Child,
    lines: Receiver<String>,
}

impl Service {
    /// Starts it and waits until it says `ready`, on standard output or error as `dnsmasq` and `consul` have it.
    pub(crate) fn start(program: &OsStr, args: &[String], ready: &str) -> Self {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, lines) = channel();
        let pipes: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for pipe in pipes {
            let to = to.clone();
            // Read to its end, or the process would wait for room.
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    to.send(line).ok();
                }
            });
        }
        let service = Self { child, lines };
        service.until(ready);
        service
    }

    fn until(&self, wanted: &str) {
        let mut seen = Vec::new();
        while !seen
            .last()
            .is_some_and(|line: &String| line.contains(wanted))
        {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => seen.push(line),
                Err(error) => panic!("{wanted:?} was never said, {error}: {seen:#?}"),
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about either.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
