//! A second attempt that races a slow first one: when it begins, how it ends, and who pays for it.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use tokio::time::sleep;

use super::*;
use crate::config::Ratio;
use crate::context::RequestRetryAllowance;

const MS: Duration = Duration::from_millis(1);

/// How long an attempt takes, and how it fails if it does.
type Attempt = (Duration, Option<Reason>);

/// A backend that takes 20 ms, of which that is known.
struct Course {
    policy: Policy<()>,
    shared: Arc<GatewayHandles>,
    /// Attempts under way.
    running: AtomicU32,
}

/// What came of a call: which attempt answered or why none did, after how long, and when each began.
struct Came {
    by: Result<usize, Reason>,
    after: Duration,
    began: Vec<Duration>,
}

struct Running<'a>(&'a AtomicU32);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Course {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let Scene { cx, .. } = Scene::new("");
        let mut config = Config::at("http://backend".parse().unwrap());
        change(&mut config);
        let shared = cx.shared().clone();
        let course = Self {
            policy: Policy::new("backend", &config, &shared, |_| ()).unwrap(),
            shared,
            running: AtomicU32::new(0),
        };
        for _ in 0..100 {
            let came = course
                .call(&course.request(), true, &[(20 * MS, None)])
                .await;
            assert_eq!(came.by, Ok(0));
        }
        sleep(100 * MS).await;
        course
    }

    fn request(&self) -> RequestContext {
        RequestContext::background(&self.shared, 5000 * MS)
    }

    async fn call(&self, request: &RequestContext, hedged: bool, attempts: &[Attempt]) -> Came {
        let (start, made) = (Instant::now(), AtomicUsize::new(0));
        let began = Mutex::new(Vec::new());
        let attempt = |_, _| {
            let nth = made.fetch_add(1, Relaxed);
            began.lock().push(start.elapsed());
            let (takes, fails) = attempts[nth];
            self.running.fetch_add(1, Relaxed);
            let running = Running(&self.running);
            async move {
                sleep(takes).await;
                drop(running);
                fails.map_or(Ok(nth), |reason| Err(Failure::new(reason)))
            }
        };
        let repeat = RetryTraits {
            idempotent: true,
            hedged,
            attempt_timeout: None,
            streaming: false,
            is_retryable: retry::is_retryable,
        };
        let until = SharedDeadline::new(request.upstream_deadline());
        let by = self.policy.call(request, &until, repeat, attempt).await;
        let after = start.elapsed();
        assert_eq!(
            self.running.load(Relaxed),
            0,
            "the loser is cancelled at once"
        );
        Came {
            by: by.map_err(|failure| failure.reason()),
            after,
            began: began.into_inner(),
        }
    }
}

/// The p95 of what always takes 20 ms, which is measured an eighth too long at most.
fn is_p95(time: Duration) -> bool {
    (20 * MS..=23 * MS).contains(&time)
}

#[tokio::test(start_paused = true)]
async fn it_begins_once_nearly_all_answers_would_have_come_and_may_win() {
    let course = Course::new(|_| {}).await;
    let request = course.request();
    let came = course
        .call(&request, true, &[(500 * MS, None), (10 * MS, None)])
        .await;
    assert!(
        came.began.len() == 2 && is_p95(came.began[1]),
        "{:?}",
        came.began
    );
    assert_eq!((came.by, came.after), (Ok(1), came.began[1] + 10 * MS));
    assert_eq!(
        request.retry_allowance().left(),
        RequestRetryAllowance::DEFAULT - 1,
        "it was paid for"
    );
    // However long both take, there is no third; and the first may win all the same.
    let came = course
        .call(&request, true, &[(300 * MS, None), (400 * MS, None)])
        .await;
    assert_eq!(
        (came.by, came.after, came.began.len()),
        (Ok(0), 300 * MS, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_waits_for_the_other_and_two_are_the_last_word() {
    let course = Course::new(|_| {}).await;
    let failed = Some(Reason::Unavailable);
    for (attempts, by, after) in [
        ([(100 * MS, failed), (200 * MS, None)], Ok(1), 220),
        ([(300 * MS, None), (10 * MS, failed)], Ok(0), 300),
        (
            [(100 * MS, failed), (200 * MS, failed)],
            Err(Reason::Unavailable),
            220,
        ),
    ] {
        let came = course.call(&course.request(), true, &attempts).await;
        assert_eq!((came.by, came.began.len()), (by, 2), "{attempts:?}");
        let late = came.after.saturating_sub(after * MS);
        assert!(
            came.after >= after * MS && late <= 3 * MS,
            "{:?}",
            came.after
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_means_or_leave_nobody_races() {
    let slow = [(500 * MS, None); 2];
    let course = Course::new(|_| {}).await;
    let came = course.call(&course.request(), false, &slow).await;
    assert_eq!(came.began.len(), 1, "a call that does not say so");
    let request = course.request();
    for left in (0..RequestRetryAllowance::DEFAULT).rev() {
        let came = course.call(&request, true, &slow).await;
        assert_eq!(
            (came.began.len(), request.retry_allowance().left()),
            (2, left)
        );
    }
    let came = course.call(&request, true, &slow).await;
    assert_eq!(
        (came.by, came.began.len()),
        (Ok(0), 1),
        "the request has none left"
    );
    let poor = budget::Config {
        ratio: Ratio::percent(0),
        min_retries: 1,
        ..budget::Config::default()
    };
    let course = Course::new(|config| config.retry_budget = poor).await;
    for attempts in [2, 1, 1] {
        let came = course.call(&course.request(), true, &slow).await;
        assert_eq!(came.began.len(), attempts, "the backend bears one");
    }
    let once = retry::Config {
        max_attempts: std::num::NonZeroU32::MIN,
    };
    let course = Course::new(|config| config.retry = once).await;
    let came = course.call(&course.request(), true, &slow).await;
    assert_eq!(came.began.len(), 1, "one attempt is all there may be");
    assert!(
        !Call::post(Public, "/things").hedged().retry_traits().hedged,
        "a write"
    );
}
