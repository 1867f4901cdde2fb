//! A call that cannot be answered in the time that is left is not made: it fails at once with `deadline`, unsent.
//!
//! Under overload most calls are made late, and what is asked too late is work that nobody will see. Such a call says
//! nothing about its backend: neither the breaker nor the budget counts it. While all calls are refused nothing is
//! measured either; then the window grows empty, and calls are made again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::latency::{CachedQuantile, Latency};
use crate::config::Ratio;

/// When a call is not worth making.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The share of the backend's answers that would have to come within the time left. Default 0.02: a call is
    /// refused when 49 of 50 like it were in vain. 0 refuses none.
    pub min_latency_quantile: Ratio,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_latency_quantile: Ratio::percent(2),
        }
    }
}

/// What is known of how quick one backend can be.
#[derive(Debug)]
pub struct DeadlineFilter(Option<CachedQuantile>);

impl DeadlineFilter {
    /// Nothing is known, and nothing hopeless.
    pub fn new(config: &Config, now: Instant) -> Self {
        let on = config.min_latency_quantile.get() > 0.0;
        Self(on.then(|| CachedQuantile::new(config.min_latency_quantile, now)))
    }

    /// Whether `left` is too short for even a quick answer; never while too little is known of the backend.
    pub fn rejects(&self, latency: &Latency, now: Instant, left: Duration) -> bool {
        let quick = self.0.as_ref().and_then(|r| r.get(latency, now));
        // A quantile is up to an eighth too long: in doubt the call is made.
        quick.is_some_and(|quick| left < quick * 8 / 9)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use http::HeaderValue;
    use proptest::prelude::*;
    use tokio::time::sleep;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::context::{Env, GatewayHandles, RequestContext};
    use crate::net::{Connection, InMemoryNetwork, Net};
    use crate::outbound::{
        Failure, Policy, Reason, RetryTraits, SharedDeadline, breaker, budget, latency,
    };
    use crate::telemetry::Metrics;

    const MS: Duration = Duration::from_millis(1);

    /// A backend that answers after `takes`, and how often it was asked.
    struct Scene {
        policy: Policy<()>,
        shared: Arc<GatewayHandles>,
        asked: AtomicU32,
    }

    impl Scene {
        fn new(edit: impl FnOnce(&mut crate::outbound::Config)) -> Self {
            let pipes = InMemoryNetwork::new(|_, _, pipe| Ok(Connection::InMemory(Box::new(pipe))));
            let world = Env::seeded(7, Net::InMemory(pipes));
            let shared = Arc::new(GatewayHandles {
                client: HeaderValue::from_static("test"),
                tasks: TaskTracker::new(),
                shutdown: tokio_util::sync::CancellationToken::new(),
                metrics: Metrics::noop(),
                cache: crate::cache::Cache::new(&crate::cache::Config::default(), &world),
                fields: crate::section::fields::FieldCache::default(),
                env: world,
            });
            let mut config = crate::outbound::Config::at("http://backend".parse().unwrap());
            edit(&mut config);
            Self {
                policy: Policy::new("backend", &config, &shared, |_| ()).unwrap(),
                shared,
                asked: AtomicU32::new(0),
            }
        }

        /// One call with so much time, of a backend that takes so long.
        async fn call(
            &self,
            time: Duration,
            takes: Duration,
            ends: Option<Reason>,
        ) -> Option<Failure> {
            let cx = RequestContext::background(&self.shared, time + 20 * MS);
            let until = SharedDeadline::new(Instant::now() + time);
            let repeat = RetryTraits {
                idempotent: true,
                hedged: false,
                attempt_timeout: None,
                streaming: false,
                is_retryable: |failure, harmless| {
                    harmless && failure.reason() == Reason::Unavailable
                },
            };
            let attempt = |_, _| {
                self.asked.fetch_add(1, Relaxed);
                async move {
                    sleep(takes).await;
                    ends.map_or(Ok(()), |reason| Err(Failure::new(reason)))
                }
            };
            self.policy.call(&cx, &until, repeat, attempt).await.err()
        }

        async fn answers(&self, count: u32, takes: Duration) {
            for _ in 0..count {
                assert!(self.call(1000 * MS, takes, None).await.is_none());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_a_chance_fails_at_once_and_unsent() {
        let scene = Scene::new(|_| ());
        scene.answers(60, 80 * MS).await;
        let asked = scene.asked.load(Relaxed);
        let began = Instant::now();
        let failure = scene.call(40 * MS, 80 * MS, None).await.unwrap();
        assert_eq!(
            (failure.reason(), began.elapsed()),
            (Reason::Deadline, Duration::ZERO)
        );
        assert!(!failure.was_sent(), "so a write's outcome is known");
        assert_eq!(scene.asked.load(Relaxed), asked);
        assert!(
            scene.call(90 * MS, 80 * MS, None).await.is_none(),
            "with time it is made"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_held_against_neither_breaker_nor_budget() {
        let once = breaker::Config {
            consecutive_failures: std::num::NonZeroU32::MIN,
            ..breaker::Config::default()
        };
        let poor = budget::Config {
            ratio: Ratio::percent(1),
            min_retries: 0,
            ..budget::Config::default()
        };
        let scene = Scene::new(|config| {
            config.circuit_breaker = once;
            config.retry_budget = poor;
        });
        scene.answers(60, 80 * MS).await;
        for _ in 0..1000 {
            let failure = scene.call(10 * MS, 80 * MS, None).await.unwrap();
            assert_eq!(failure.reason(), Reason::Deadline, "and never circuit_open");
        }
        assert!(scene.call(1000 * MS, 80 * MS, None).await.is_none());
        let asked = scene.asked.load(Relaxed);
        let failed = Some(Reason::Unavailable);
        scene.call(1000 * MS, 80 * MS, failed).await.unwrap();
        let tries = scene.asked.load(Relaxed) - asked;
        assert_eq!(tries, 1, "what was never made has paid for no retry");
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_without_a_chance_is_not_made_and_the_first_failure_stands() {
        let scene = Scene::new(|_| ());
        scene.answers(60, 80 * MS).await;
        let asked = scene.asked.load(Relaxed);
        let failure = scene
            .call(120 * MS, 60 * MS, Some(Reason::Unavailable))
            .await;
        assert_eq!(failure.unwrap().reason(), Reason::Unavailable);
        assert_eq!(scene.asked.load(Relaxed), asked + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn while_too_little_is_known_every_call_is_made() {
        let scene = Scene::new(|_| ());
        scene.answers(49, 80 * MS).await;
        scene.call(40 * MS, 80 * MS, None).await;
        assert_eq!(scene.asked.load(Relaxed), 50);
        scene.answers(60, 80 * MS).await;
        let asked = scene.asked.load(Relaxed);
        // Refusing everything, it forgets why.
        for _ in 0..30 {
            sleep(1000 * MS).await;
            scene.call(40 * MS, 20 * MS, None).await;
        }
        assert!(scene.asked.load(Relaxed) > asked, "it asks again");
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_switched_off() {
        let none = Config {
            min_latency_quantile: Ratio::percent(0),
        };
        let scene = Scene::new(|config| config.deadline_filter = none);
        scene.answers(60, 80 * MS).await;
        scene.call(40 * MS, 80 * MS, None).await;
        assert_eq!(scene.asked.load(Relaxed), 61);
    }

    proptest! {
        #[test]
        fn no_call_is_refused_that_one_in_fifty_could_answer(
            times in prop::collection::vec(1_u64..2000, 50..300), left in 1_u64..2000,
        ) {
            let now = Instant::now();
            let latency = Latency::new(&latency::Config::default(), now);
            for millis in &times {
                latency.record(now, MS * u32::try_from(*millis).unwrap());
            }
            let hopeless = DeadlineFilter::new(&Config::default(), now);
            let refused = hopeless.rejects(&latency, now, Duration::from_millis(left));
            let in_time = times.iter().filter(|t| **t <= left).count();
            prop_assert!(!refused || in_time * 50 < times.len(), "{in_time} of {}", times.len());
        }
    }
}
