//! The deadline of a coalesced call. A caller that joins with a later deadline extends it.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Failure, Reason};

/// The latest deadline of all callers that wait for one call.
#[derive(Debug)]
pub struct SharedDeadline {
    initial: Instant,
    /// The extension so far, in nanoseconds.
    extension: AtomicU64,
}

impl SharedDeadline {
    /// Creates the deadline of the first caller.
    pub fn new(deadline: Instant) -> Self {
        Self {
            initial: deadline,
            extension: AtomicU64::new(0),
        }
    }

    /// The current deadline. It may still be extended.
    pub fn instant(&self) -> Instant {
        self.initial + Duration::from_nanos(self.extension.load(Relaxed))
    }

    /// Extends the deadline to that of another caller, if it is later.
    pub fn extend(&self, deadline: Instant) {
        if deadline > self.initial {
            let extension = deadline.duration_since(self.initial).as_nanos();
            let extension = u64::try_from(extension).unwrap_or(u64::MAX);
            self.extension.fetch_max(extension, Relaxed);
        }
    }

    /// Runs an attempt until its own timeout at `end` or until the shared deadline, with all its extensions.
    ///
    /// # Errors
    /// The attempt's failure, [`Reason::Timeout`] at `end`, or [`Reason::Deadline`] at the shared deadline.
    pub async fn timeout<R>(
        &self,
        end: Instant,
        attempt: impl Future<Output = Result<R, Failure>>,
    ) -> Result<R, Failure> {
        let mut attempt = pin!(attempt);
        loop {
            let limit = end.min(self.instant());
            match timeout_at(limit, attempt.as_mut()).await {
                Ok(result) => return result,
                Err(_) if self.instant() <= limit => return Err(Failure::new(Reason::Deadline)),
                Err(_) if limit == end => return Err(Failure::new(Reason::Timeout)),
                // A caller with a later deadline joined.
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Runs an attempt of 100 ms. `join` is the time at which a second caller joins, and its deadline.
    async fn run_attempt(
        timeout: u64,
        deadline: u64,
        join: Option<(u64, u64)>,
    ) -> (Option<Reason>, Duration) {
        let started = Instant::now();
        let shared = SharedDeadline::new(started + ms(deadline));
        let attempt = async {
            sleep(ms(100)).await;
            Ok(())
        };
        let second_caller = async {
            if let Some((joins_at, deadline)) = join {
                sleep(ms(joins_at)).await;
                shared.extend(started + ms(deadline));
            }
        };
        let (result, ()) = tokio::join!(
            async {
                let result = shared.timeout(started + ms(timeout), attempt).await;
                (result.err().map(|f| f.reason()), started.elapsed())
            },
            second_caller
        );
        result
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_ends_at_its_timeout_or_at_the_latest_deadline() {
        let deadline = Some(Reason::Deadline);
        assert_eq!(run_attempt(200, 300, None).await, (None, ms(100)));
        assert_eq!(
            run_attempt(50, 300, None).await,
            (Some(Reason::Timeout), ms(50))
        );
        assert_eq!(run_attempt(300, 50, None).await, (deadline, ms(50)));
        assert_eq!(run_attempt(50, 50, None).await, (deadline, ms(50)));
        assert_eq!(run_attempt(300, 50, Some((40, 200))).await, (None, ms(100)));
        assert_eq!(
            run_attempt(300, 50, Some((40, 80))).await,
            (deadline, ms(80))
        );
        assert_eq!(
            run_attempt(70, 50, Some((40, 200))).await,
            (Some(Reason::Timeout), ms(70))
        );
    }
}
