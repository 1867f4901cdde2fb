//! The lingering close of a connection (RFC 9112 §9.6).
//!
//! A client may send its whole request before it reads. If the server closes a connection with unread data, the kernel
//! resets it, and the client loses the response. So the server first closes its own direction, and then reads and
//! discards until the client closes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::net::{Connection, IdleTimer};

/// The largest time without data from the client.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// The largest number of discarded bytes. It only limits clients that never stop.
const MAX_BYTES: usize = 64 << 20;
const BUFFER_BYTES: usize = 16 << 10;

/// Discards the data of one connection.
pub(super) struct Linger {
    total: Pin<Box<Sleep>>,
    idle: IdleTimer,
    left: usize,
    buffer: Box<[u8]>,
}

impl Linger {
    /// Starts now, for at most `total`.
    pub(super) fn new(total: Duration) -> Self {
        Self {
            total: Box::pin(sleep(total)),
            idle: IdleTimer::new(IDLE_TIME),
            left: MAX_BYTES,
            buffer: vec![0; BUFFER_BYTES].into(),
        }
    }

    /// Resolves when the client has closed the connection, or a limit is reached.
    pub(super) fn poll(&mut self, connection: &mut Connection, cx: &mut Context<'_>) -> Poll<()> {
        while self.left > 0 && self.total.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            let read: Poll<io::Result<()>> = Pin::new(&mut *connection).poll_read(cx, &mut buffer);
            if read.is_pending() {
                return self.idle.poll_elapsed(cx);
            }
            let ended = ready!(read).is_err() || buffer.filled().is_empty();
            if ended {
                break;
            }
            self.left = self.left.saturating_sub(buffer.filled().len());
            self.idle.reset();
        }
        Poll::Ready(())
    }
}
