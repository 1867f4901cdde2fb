//! The deadline filter: a call whose remaining time is too short for a response fails at once with `deadline`, unsent.
//!
//! Under overload many calls start late, and their responses would arrive after the client's deadline. A rejected call
//! does not count for the breaker or the retry budget. If all calls are rejected, no latency is measured. The latency
//! window then becomes empty, and calls are sent again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::policies::latency::{CachedQuantile, Latency};
use bff_config::Ratio;

/// The settings of the deadline filter.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The latency quantile that must fit in the remaining time. Default 0.02: a call is rejected if the fastest 2 % of
    /// recent responses took longer than its remaining time. 0 disables the filter.
    pub min_latency_quantile: Ratio,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_latency_quantile: Ratio::percent(2),
        }
    }
}

/// The deadline filter of one backend.
#[derive(Debug)]
pub struct DeadlineFilter(Option<CachedQuantile>);

impl DeadlineFilter {
    /// Creates a filter without latency data.
    pub fn new(config: &Config, now: Instant) -> Self {
        let enabled = config.min_latency_quantile.get() > 0.0;
        Self(enabled.then(|| CachedQuantile::new(config.min_latency_quantile, now)))
    }

    /// Whether `time_left` is too short even for a fast response. Always false while there are too few samples.
    pub fn rejects(&self, latency: &Latency, now: Instant, time_left: Duration) -> bool {
        let quantile = self.0.as_ref().and_then(|q| q.get(latency, now));
        // The quantile may be one eighth too long; in doubt the call is sent.
        quantile.is_some_and(|quantile| time_left < quantile * 8 / 9)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use proptest::prelude::*;
    use tokio::time::sleep;

    use super::*;
    use crate::gateway_handles::GatewayHandles;
    use crate::policies::policy::Policy;
    use crate::policies::retry::RetryTraits;
    use crate::policies::{breaker, budget, latency};
    use bff_context::context::Failure;
    use bff_context::context::{Env, RequestContext};
    use bff_context::context::{Reason, SharedDeadline};
    use bff_runtime::net::{Connection, InMemoryNetwork, Net};

    const MS: Duration = Duration::from_millis(1);

    /// A backend of the simulated network, with a counter of attempts.
    struct Backend {
        policy: Policy<()>,
        shared: Arc<GatewayHandles>,
        attempts: AtomicU32,
    }

    impl Backend {
        fn new(edit: impl FnOnce(&mut crate::config::Config)) -> Self {
            let network =
                InMemoryNetwork::new(|_, _, pipe| Ok(Connection::InMemory(Box::new(pipe))));
            let env = Env::seeded(7, Net::InMemory(network));
            let shared = Arc::new(GatewayHandles::in_process("test", env));
            let mut config = crate::config::Config::at("http://backend".parse().unwrap());
            edit(&mut config);
            Self {
                policy: Policy::new("backend", &config, &shared, |_| ()).unwrap(),
                shared,
                attempts: AtomicU32::new(0),
            }
        }

        /// Makes one call whose attempts take `latency` and then fail for `reason`, if any.
        async fn call(
            &self,
            timeout: Duration,
            latency: Duration,
            reason: Option<Reason>,
        ) -> Option<Failure> {
            let cx = RequestContext::background(
                &self.shared.client,
                &self.shared.env,
                timeout + 20 * MS,
            );
            let deadline = SharedDeadline::new(Instant::now() + timeout);
            let traits = RetryTraits {
                idempotent: true,
                hedged: false,
                attempt_timeout: None,
                streaming: false,
                is_retryable: |failure, idempotent| {
                    idempotent && failure.reason() == Reason::Unavailable
                },
            };
            let attempt = |_, _| {
                self.attempts.fetch_add(1, Relaxed);
                async move {
                    sleep(latency).await;
                    reason.map_or(Ok(()), |reason| Err(Failure::new(reason)))
                }
            };
            self.policy
                .call(&cx, &deadline, traits, attempt)
                .await
                .err()
        }

        async fn succeed(&self, count: u32, latency: Duration) {
            for _ in 0..count {
                assert!(self.call(1000 * MS, latency, None).await.is_none());
            }
        }

        fn attempts(&self) -> u32 {
            self.attempts.load(Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_with_too_little_time_fails_at_once_and_unsent() {
        let backend = Backend::new(|_| ());
        backend.succeed(60, 80 * MS).await;
        let attempts = backend.attempts();
        let started = Instant::now();
        let failure = backend.call(40 * MS, 80 * MS, None).await.unwrap();
        assert_eq!(
            (failure.reason(), started.elapsed()),
            (Reason::Deadline, Duration::ZERO)
        );
        assert!(!failure.was_sent(), "the outcome of a write is known");
        assert_eq!(backend.attempts(), attempts);
        assert!(
            backend.call(90 * MS, 80 * MS, None).await.is_none(),
            "with enough time the call is sent"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejection_counts_for_neither_breaker_nor_budget() {
        let sensitive = breaker::Config {
            consecutive_failures: std::num::NonZeroU32::MIN,
            ..breaker::Config::default()
        };
        let small = budget::Config {
            ratio: Ratio::percent(1),
            min_retries: 0,
            ..budget::Config::default()
        };
        let backend = Backend::new(|config| {
            config.circuit_breaker = sensitive;
            config.retry_budget = small;
        });
        backend.succeed(60, 80 * MS).await;
        for _ in 0..1000 {
            let failure = backend.call(10 * MS, 80 * MS, None).await.unwrap();
            assert_eq!(failure.reason(), Reason::Deadline, "not circuit_open");
        }
        assert!(backend.call(1000 * MS, 80 * MS, None).await.is_none());
        let attempts = backend.attempts();
        let unavailable = Some(Reason::Unavailable);
        backend.call(1000 * MS, 80 * MS, unavailable).await.unwrap();
        let made = backend.attempts() - attempts;
        assert_eq!(made, 1, "rejected calls deposited nothing for a retry");
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_with_too_little_time_is_not_made_and_the_first_failure_is_returned() {
        let backend = Backend::new(|_| ());
        backend.succeed(60, 80 * MS).await;
        let attempts = backend.attempts();
        let failure = backend
            .call(120 * MS, 60 * MS, Some(Reason::Unavailable))
            .await;
        assert_eq!(failure.unwrap().reason(), Reason::Unavailable);
        assert_eq!(backend.attempts(), attempts + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn with_too_few_samples_every_call_is_sent() {
        let backend = Backend::new(|_| ());
        backend.succeed(49, 80 * MS).await;
        backend.call(40 * MS, 80 * MS, None).await;
        assert_eq!(backend.attempts(), 50);
        backend.succeed(60, 80 * MS).await;
        let attempts = backend.attempts();
        // While all calls are rejected, the latency window becomes empty.
        for _ in 0..30 {
            sleep(1000 * MS).await;
            backend.call(40 * MS, 20 * MS, None).await;
        }
        assert!(backend.attempts() > attempts, "calls are sent again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quantile_of_zero_disables_the_filter() {
        let disabled = Config {
            min_latency_quantile: Ratio::percent(0),
        };
        let backend = Backend::new(|config| config.deadline_filter = disabled);
        backend.succeed(60, 80 * MS).await;
        backend.call(40 * MS, 80 * MS, None).await;
        assert_eq!(backend.attempts(), 61);
    }

    proptest! {
        #[test]
        fn no_call_is_rejected_if_2_percent_of_responses_are_fast_enough(
            times in prop::collection::vec(1_u64..2000, 50..300), left in 1_u64..2000,
        ) {
            let now = Instant::now();
            let latency = Latency::new(&latency::Config::default(), now);
            for millis in &times {
                latency.record(now, MS * u32::try_from(*millis).unwrap());
            }
            let filter = DeadlineFilter::new(&Config::default(), now);
            let rejected = filter.rejects(&latency, now, Duration::from_millis(left));
            let in_time = times.iter().filter(|t| **t <= left).count();
            prop_assert!(!rejected || in_time * 50 < times.len(), "{in_time} of {}", times.len());
        }
    }
}
