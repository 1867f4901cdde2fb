//! Ends writes that make no progress. A client that reads nothing must not hold its connection and a permit of a
//! bulkhead forever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Measures the time in which the peer reads nothing.
#[derive(Debug)]
pub(super) struct WriteTimeout {
    limit: Duration,
    waiting: bool,
    /// Created by the first write that is pending, then reused.
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

    /// The result of a write, or `TimedOut` if writes have been pending for longer than the limit.
    pub(super) fn apply<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = false;
            return result;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !std::mem::replace(&mut self.waiting, true) {
            timer.as_mut().reset(Instant::now() + limit);
        }
        let expired = timer.as_mut().poll(cx);
        expired.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}
