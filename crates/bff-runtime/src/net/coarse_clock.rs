//! One moment for all that a connection's task does before it waits again.
//!
//! A page of three calls asks the time some fifty times, 20 to 30 ns each. What is asked here is read once each time that
//! the task is woken, as event loops do. It is for what lasts until something arrives: calls, copies, deadlines. How long
//! the work itself took, and what other threads compare with, is for [`Instant::now`].

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

thread_local! {
    static MOMENT: Cell<Moment> = const { Cell::new(Moment::Passing) };
}

/// How the time stands on this thread.
#[derive(Clone, Copy)]
enum Moment {
    /// It passes: no task that stands still in it is being polled.
    Passing,
    /// It stands still from the first look on.
    Unseen,
    /// It stands still.
    At(Instant),
}

/// The time: in a task of a connection as it was when first asked since the task was woken.
pub fn now() -> Instant {
    match MOMENT.get() {
        Moment::At(at) => at,
        Moment::Passing => Instant::now(),
        Moment::Unseen => {
            let at = Instant::now();
            MOMENT.set(Moment::At(at));
            at
        }
    }
}

/// A task for which time stands still while it is polled.
pub(super) struct FrozenClock<F>(Pin<Box<F>>);

impl<F> FrozenClock<F> {
    pub(super) fn new(task: F) -> Self {
        Self(Box::pin(task))
    }
}

impl<F: Future> Future for FrozenClock<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _passes = Passes(MOMENT.replace(Moment::Unseen));
        self.0.as_mut().poll(cx)
    }
}

/// Sets the time going again, whatever becomes of the task.
struct Passes(Moment);

impl Drop for Passes {
    fn drop(&mut self) {
        MOMENT.set(self.0);
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
    async fn time_stands_still_until_the_task_is_woken_again() {
        let still = FrozenClock::new(async {
            let first = now();
            // Its first poll moves the clock; it is not waited for.
            assert!(advance(STEP).now_or_never().is_none());
            assert_eq!((now(), Instant::now()), (first, first + STEP));
            sleep(STEP).await;
            assert_eq!(now(), first + STEP * 2);
        });
        still.await;
        let before = now();
        advance(STEP).await;
        assert_eq!(now(), before + STEP);
    }

    #[tokio::test(start_paused = true)]
    async fn other_tasks_have_their_own_time_and_a_panic_leaves_none_standing() {
        let other = tokio::spawn(FrozenClock::new(async {
            now();
            yield_now().await;
            panic!("meant");
        }));
        let before = now();
        advance(STEP).await;
        assert_eq!(now(), before + STEP);
        other.await.unwrap_err();
        advance(STEP).await;
        assert_eq!(now(), before + STEP * 2);
    }
}
