//! Writes that do not get on: a client that reads nothing holds its connection, and a place at a backend, no longer than
//! a limit.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Measures for how long the other side has taken nothing.
#[derive(Debug)]
pub(super) struct WriteTimeout {
    limit: Duration,
    waiting: bool,
    /// Made with the first write that has to wait, and used again.
    timer: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            waiting: false,
            timer: None,
        }
    }

    /// What became of a write: an error when it has been waiting for too long.
    pub(super) fn bound<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !std::mem::replace(&mut self.waiting, true) {
            timer.as_mut().reset(Instant::now() + limit);
        }
        let over = timer.as_mut().poll(cx);
        over.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}
