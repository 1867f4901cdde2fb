//! A coarse clock: one time for everything that a connection's task does between two waits.
//!
//! A page of three calls reads the time about fifty times, at 20 to 30 ns each. This clock is read once per wake-up of
//! the task, as in event loops. It is for times that span a wait: calls, cache entries, deadlines. Use [`Instant::now`]
//! to measure work, and for times that other threads compare.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

thread_local! {
    static CLOCK: Cell<ClockState> = const { Cell::new(ClockState::Running) };
}

/// The clock of this thread.
#[derive(Clone, Copy)]
enum ClockState {
    /// Running: no [`FrozenClock`] is being polled.
    Running,
    /// Frozen at the next read.
    FrozenAtNextRead,
    /// Frozen.
    Frozen(Instant),
}

/// The time; inside a `FrozenClock`, the time of the first read since the task was woken.
pub fn now() -> Instant {
    match CLOCK.get() {
        ClockState::Frozen(now) => now,
        ClockState::Running => Instant::now(),
        ClockState::FrozenAtNextRead => {
            let now = Instant::now();
            CLOCK.set(ClockState::Frozen(now));
            now
        }
    }
}

/// A task whose clock is frozen while it is polled.
pub(super) struct FrozenClock<F>(Pin<Box<F>>);

impl<F> FrozenClock<F> {
    pub(super) fn new(task: F) -> Self {
        Self(Box::pin(task))
    }
}

impl<F: Future> Future for FrozenClock<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _restore = RestoreClock(CLOCK.replace(ClockState::FrozenAtNextRead));
        self.0.as_mut().poll(cx)
    }
}

/// Restores the earlier state, even if the task panics.
struct RestoreClock(ClockState);

impl Drop for RestoreClock {
    fn drop(&mut self) {
        CLOCK.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::task::yield_now;
    use tokio::time::{advance, sleep};

    use super::*;

    const STEP: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_clock_is_frozen_until_the_task_is_woken_again() {
        let task = FrozenClock::new(async {
            let first = now();
            // The first poll advances the clock; the rest is not needed.
            assert!(advance(STEP).now_or_never().is_none());
            assert_eq!((now(), Instant::now()), (first, first + STEP));
            sleep(STEP).await;
            assert_eq!(now(), first + STEP * 2);
        });
        task.await;
        let before = now();
        advance(STEP).await;
        assert_eq!(now(), before + STEP);
    }

    #[tokio::test(start_paused = true)]
    async fn other_tasks_have_their_own_clock_and_a_panic_restores_it() {
        let other = tokio::spawn(FrozenClock::new(async {
            now();
            yield_now().await;
            panic!("intended");
        }));
        let before = now();
        advance(STEP).await;
        assert_eq!(now(), before + STEP);
        other.await.unwrap_err();
        advance(STEP).await;
        assert_eq!(now(), before + STEP * 2);
    }
}
