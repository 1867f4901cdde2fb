//! The process of a server: the signals that stop it, and the line of a failed start.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Error;

/// Resolves on Ctrl-C or SIGTERM. The handlers are installed by this call, not by the first poll.
pub fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    let message = |error: io::Error| format!("cannot install a signal handler: {error}");
    let mut term = signal(SignalKind::terminate()).map_err(message)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(message)?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Prints the error line of a failed start. The exit code is 64.
pub fn exit_with_error(line: &str) -> ExitCode {
    // A closed stderr does not change the exit code.
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::from(Error::EXIT_CODE)
}
