//! Until when a call may go on: whoever joins it with more time moves its end.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Failure, Reason};
use crate::net::monotonic::nanos;

/// The end of a call's time: its caller's, or the latest of all who wait for it together.
#[derive(Debug)]
pub(crate) struct SharedDeadline {
    first: Instant,
    /// How many nanoseconds later it is by now.
    later: AtomicU64,
}

impl SharedDeadline {
    /// A call that ends at `at`.
    pub(crate) fn new(at: Instant) -> Self {
        Self {
            first: at,
            later: AtomicU64::new(0),
        }
    }

    /// When it ends, as things stand.
    pub(crate) fn instant(&self) -> Instant {
        self.first + Duration::from_nanos(self.later.load(Relaxed))
    }

    /// Somebody waits until `at`.
    pub(crate) fn extend(&self, at: Instant) {
        if at > self.first {
            let later = nanos(at.duration_since(self.first));
            self.later.fetch_max(later, Relaxed);
        }
    }

    /// An attempt, cut at its own `end` or at the call's, wherever that has moved meanwhile.
    pub(crate) async fn timeout<R>(
        &self,
        end: Instant,
        attempt: impl Future<Output = Result<R, Failure>>,
    ) -> Result<R, Failure> {
        let mut attempt = pin!(attempt);
        loop {
            let bound = end.min(self.instant());
            match timeout_at(bound, attempt.as_mut()).await {
                Ok(done) => return done,
                Err(_) if self.instant() <= bound => return Err(Failure::new(Reason::Deadline)),
                Err(_) if bound == end => return Err(Failure::new(Reason::Timeout)),
                // Somebody joined who has more time.
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

    async fn ends(own: u64, call: u64, joined: Option<(u64, u64)>) -> (Option<Reason>, Duration) {
        let began = Instant::now();
        let until = SharedDeadline::new(began + ms(call));
        let attempt = async {
            sleep(ms(100)).await;
            Ok(())
        };
        let join = async {
            if let Some((when, end)) = joined {
                sleep(ms(when)).await;
                until.extend(began + ms(end));
            }
        };
        let (done, ()) = tokio::join!(
            async {
                let done = until.timeout(began + ms(own), attempt).await;
                (done.err().map(|f| f.reason()), began.elapsed())
            },
            join
        );
        done
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_ends_with_its_own_time_or_with_that_of_whoever_waits_longest() {
        let late = Some(Reason::Deadline);
        assert_eq!(ends(200, 300, None).await, (None, ms(100)));
        assert_eq!(ends(50, 300, None).await, (Some(Reason::Timeout), ms(50)));
        assert_eq!(ends(300, 50, None).await, (late, ms(50)));
        assert_eq!(ends(50, 50, None).await, (late, ms(50)));
        assert_eq!(ends(300, 50, Some((40, 200))).await, (None, ms(100)));
        assert_eq!(ends(300, 50, Some((40, 80))).await, (late, ms(80)));
        assert_eq!(
            ends(70, 50, Some((40, 200))).await,
            (Some(Reason::Timeout), ms(70))
        );
    }
}
