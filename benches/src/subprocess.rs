//! Shared by all subprocesses: they listen on free ports, announce them on stdout, and stop when the parent process ends.

use std::io::{Read, Write};

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::Result;

/// Binds a free local port.
pub(crate) async fn bind() -> Result<TcpListener> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await?)
}

/// Prints the bound ports in one line, for the parent process.
pub(crate) fn announce(listeners: &[&TcpListener]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    for listener in listeners {
        write!(stdout, "{} ", listener.local_addr()?.port())?;
    }
    writeln!(stdout)?;
    Ok(stdout.flush()?)
}

/// Resolves when stdin is closed. The kernel closes it when the parent process ends, even if it was killed.
pub(crate) async fn parent_ended() {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // The parent writes nothing, so EOF and an error mean the same.
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        sender.send(()).ok();
    });
    receiver.await.ok();
}
