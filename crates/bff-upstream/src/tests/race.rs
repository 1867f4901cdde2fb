//! Hedging: the start of the second attempt, the successful attempt, and the limits of hedges.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use tokio::time::sleep;

use super::*;
use bff_config::Ratio;
use bff_context::context::RequestRetryAllowance;

const MS: Duration = Duration::from_millis(1);

/// The duration of an attempt, and the reason of its failure, if it fails.
type Attempt = (Duration, Option<Reason>);

/// A backend with enough latency samples of 20 ms.
struct Backend {
    policy: Policy<()>,
    shared: Arc<GatewayHandles>,
    /// The number of attempts in flight.
    in_flight: AtomicU32,
}

/// The result of a call.
struct CallResult {
    /// The index of the successful attempt, or the reason of the failure.
    result: Result<usize, Reason>,
    duration: Duration,
    /// The start of each attempt, relative to the start of the call.
    starts: Vec<Duration>,
}

struct InFlight<'a>(&'a AtomicU32);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Backend {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let Scene { shared, .. } = Scene::new("");
        let mut config = Config::at("http://backend".parse().unwrap());
        change(&mut config);
        let backend = Self {
            policy: Policy::new("backend", &config, &shared, |_| ()).unwrap(),
            shared,
            in_flight: AtomicU32::new(0),
        };
        for _ in 0..100 {
            let call = backend
                .call(&backend.request(), true, &[(20 * MS, None)])
                .await;
            assert_eq!(call.result, Ok(0));
        }
        sleep(100 * MS).await;
        backend
    }

    fn request(&self) -> RequestContext {
        RequestContext::background(&self.shared.client, &self.shared.env, 5000 * MS)
    }

    async fn call(
        &self,
        request: &RequestContext,
        hedged: bool,
        attempts: &[Attempt],
    ) -> CallResult {
        let (started, count) = (Instant::now(), AtomicUsize::new(0));
        let starts = Mutex::new(Vec::new());
        let attempt = |_, _| {
            let nth = count.fetch_add(1, Relaxed);
            starts.lock().push(started.elapsed());
            let (duration, reason) = attempts[nth];
            self.in_flight.fetch_add(1, Relaxed);
            let in_flight = InFlight(&self.in_flight);
            async move {
                sleep(duration).await;
                drop(in_flight);
                reason.map_or(Ok(nth), |reason| Err(Failure::new(reason)))
            }
        };
        let traits = RetryTraits {
            idempotent: true,
            hedged,
            attempt_timeout: None,
            streaming: false,
            is_retryable: retry::is_retryable,
        };
        let deadline = SharedDeadline::new(request.upstream_deadline());
        let result = (self.policy)
            .call(request, &deadline, traits, attempt)
            .await;
        let duration = started.elapsed();
        assert_eq!(
            self.in_flight.load(Relaxed),
            0,
            "the slower attempt is cancelled at once"
        );
        CallResult {
            result: result.map_err(|failure| failure.reason()),
            duration,
            starts: starts.into_inner(),
        }
    }
}

/// Whether a delay is the 95th percentile of 20 ms samples, which is measured up to one eighth too long.
fn is_p95(delay: Duration) -> bool {
    (20 * MS..=23 * MS).contains(&delay)
}

#[tokio::test(start_paused = true)]
async fn a_hedge_starts_at_the_95th_percentile_and_may_succeed_first() {
    let backend = Backend::new(|_| {}).await;
    let request = backend.request();
    let call = backend
        .call(&request, true, &[(500 * MS, None), (10 * MS, None)])
        .await;
    let starts = &call.starts;
    assert!(starts.len() == 2 && is_p95(starts[1]), "{starts:?}");
    assert_eq!((call.result, call.duration), (Ok(1), starts[1] + 10 * MS));
    assert_eq!(
        request.retry_allowance().remaining(),
        RequestRetryAllowance::DEFAULT - 1,
        "the hedge used the allowance"
    );
    // There is no third attempt, and the first one may succeed after the hedge has started.
    let call = backend
        .call(&request, true, &[(300 * MS, None), (400 * MS, None)])
        .await;
    assert_eq!(
        (call.result, call.duration, call.starts.len()),
        (Ok(0), 300 * MS, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_waits_for_the_other_one() {
    let backend = Backend::new(|_| {}).await;
    let failed = Some(Reason::Unavailable);
    for (attempts, result, millis) in [
        ([(100 * MS, failed), (200 * MS, None)], Ok(1), 220),
        ([(300 * MS, None), (10 * MS, failed)], Ok(0), 300),
        (
            [(100 * MS, failed), (200 * MS, failed)],
            Err(Reason::Unavailable),
            220,
        ),
    ] {
        let call = backend.call(&backend.request(), true, &attempts).await;
        assert_eq!(
            (call.result, call.starts.len()),
            (result, 2),
            "{attempts:?}"
        );
        let expected = millis * MS..=(millis + 3) * MS;
        assert!(expected.contains(&call.duration), "{:?}", call.duration);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_needs_permission_allowance_budget_and_attempts() {
    let slow = [(500 * MS, None); 2];
    let backend = Backend::new(|_| {}).await;
    let call = backend.call(&backend.request(), false, &slow).await;
    assert_eq!(call.starts.len(), 1, "a call without `hedged`");
    let request = backend.request();
    for remaining in (0..RequestRetryAllowance::DEFAULT).rev() {
        let call = backend.call(&request, true, &slow).await;
        assert_eq!(
            (call.starts.len(), request.retry_allowance().remaining()),
            (2, remaining)
        );
    }
    let call = backend.call(&request, true, &slow).await;
    assert_eq!(
        (call.result, call.starts.len()),
        (Ok(0), 1),
        "the request's allowance is used up"
    );
    let small = budget::Config {
        ratio: Ratio::percent(0),
        min_retries: 1,
        ..budget::Config::default()
    };
    let backend = Backend::new(|config| config.retry_budget = small).await;
    for attempts in [2, 1, 1] {
        let call = backend.call(&backend.request(), true, &slow).await;
        assert_eq!(call.starts.len(), attempts, "the budget allows one hedge");
    }
    let single = retry::Config {
        max_attempts: std::num::NonZeroU32::MIN,
    };
    let backend = Backend::new(|config| config.retry = single).await;
    let call = backend.call(&backend.request(), true, &slow).await;
    assert_eq!(call.starts.len(), 1, "max_attempts is one");
    assert!(
        !Call::post(Public, "/things").hedged().retry_traits().hedged,
        "a write"
    );
}
