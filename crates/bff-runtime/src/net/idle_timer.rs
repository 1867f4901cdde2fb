//! The timer of a stream that makes no progress.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Measures the time without progress.
#[derive(Debug)]
pub struct IdleTimer {
    limit: Duration,
    idle: bool,
    /// Created by the first poll, then reused.
    timer: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    /// A timer that elapses after `limit` without progress.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            idle: false,
            timer: None,
        }
    }

    /// Records progress.
    pub fn reset(&mut self) {
        self.idle = false;
    }

    /// Records that no progress is possible now. Ready if that lasts longer than the limit.
    pub fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let was_idle = std::mem::replace(&mut self.idle, true);
        if let Some(timer) = self.timer.as_mut().filter(|_| !was_idle) {
            timer.set(sleep(self.limit));
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::poll;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_counts_from_the_last_progress() {
        let second = Duration::from_secs(1);
        let mut timer = IdleTimer::new(10 * second);
        for _ in 0..3 {
            assert!(poll!(poll_fn(|cx| timer.poll_elapsed(cx))).is_pending());
            advance(9 * second).await;
            assert!(poll!(poll_fn(|cx| timer.poll_elapsed(cx))).is_pending());
            timer.reset();
        }
        assert!(poll!(poll_fn(|cx| timer.poll_elapsed(cx))).is_pending());
        advance(11 * second).await;
        assert!(poll!(poll_fn(|cx| timer.poll_elapsed(cx))).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn any_limit_is_accepted() {
        let mut timer = IdleTimer::new(Duration::MAX);
        for _ in 0..2 {
            assert!(poll!(poll_fn(|cx| timer.poll_elapsed(cx))).is_pending());
            timer.reset();
        }
    }
}
