//! What every part started as a process of its own has in common: a port of the kernel's choice, told on stdout, and
//! an end when whoever started it is gone.

use std::io::{Read, Write};

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::Result;

/// A listener on a free port of this machine.
pub(crate) async fn bind() -> Result<TcpListener> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await?)
}

/// Tells the ports bound, in one line, to whoever started this process.
pub(crate) fn announce(listeners: &[&TcpListener]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    for listener in listeners {
        write!(stdout, "{} ", listener.local_addr()?.port())?;
    }
    writeln!(stdout)?;
    Ok(stdout.flush()?)
}

/// Resolves when stdin closes. The kernel closes it even for a benchmark that was killed.
pub(crate) async fn orphaned() {
    let (gone, until) = oneshot::channel();
    std::thread::spawn(move || {
        // Nothing is ever written to it: an end and an error mean the same.
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        gone.send(()).ok();
    });
    until.await.ok();
}
