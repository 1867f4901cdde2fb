//! The requests in flight on one connection: for the idle timeout, and for the write timeout of HTTP/2 bodies.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The activity of one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionActivity(Arc<Inner>);

/// The guard of a request in flight. The accept loop adds it to the request, and the response's body holds it until its
/// end. Each clone counts as one more.
#[derive(Debug)]
pub struct InFlightRequest(ConnectionActivity);

#[derive(Debug)]
struct Inner {
    opened: Instant,
    in_flight: AtomicU32,
    /// The end of the last request, in milliseconds since `opened`.
    idle_since: AtomicU64,
    /// Whether the connection is being closed because its client does not read.
    stalled: AtomicBool,
    /// The bodies that are being sent. May contain dropped ones.
    bodies: Mutex<Vec<Weak<dyn StallableBody>>>,
    body_added: Notify,
}

/// A response body whose client may stop reading.
pub(in crate::inbound) trait StallableBody:
    Send + Sync + std::fmt::Debug
{
    /// Aborts the body if the client has read nothing for `limit`. Otherwise returns the time of the next check.
    fn check_timeout(&self, now: Instant, limit: Duration) -> Option<Instant>;
}

impl ConnectionActivity {
    /// Starts the activity of a new connection.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            opened: Instant::now(),
            in_flight: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            bodies: Mutex::default(),
            body_added: Notify::new(),
        }))
    }

    /// Counts one more request until the guard is dropped.
    pub fn begin(&self) -> InFlightRequest {
        self.0.in_flight.fetch_add(1, Relaxed);
        InFlightRequest(self.clone())
    }

    /// Whether a request is in flight.
    pub fn has_in_flight(&self) -> bool {
        self.0.in_flight.load(Relaxed) > 0
    }

    /// Waits until no request was in flight for `idle`.
    pub async fn wait_idle(&self, idle: Duration) {
        loop {
            let now = Instant::now();
            let since = Duration::from_millis(self.0.idle_since.load(Relaxed));
            let since = if self.has_in_flight() {
                now
            } else {
                self.0.opened + since
            };
            if since + idle <= now {
                return;
            }
            sleep_until(since + idle).await;
        }
    }
}

impl ConnectionActivity {
    /// Records that the connection is being closed because its client does not read.
    pub fn mark_stalled(&self) {
        self.0.stalled.store(true, Relaxed);
    }

    /// Aborts each body of which the client has read nothing for `limit`. Never returns.
    pub async fn enforce_write_timeout(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let bodies: Vec<Arc<dyn StallableBody>> = {
                let mut bodies = self.0.bodies.lock();
                bodies.retain(|body| body.strong_count() > 0);
                bodies.iter().filter_map(Weak::upgrade).collect()
            };
            let next_check = bodies
                .iter()
                .filter_map(|body| body.check_timeout(now, limit));
            let next_check = next_check.min();
            drop(bodies);
            match next_check {
                Some(at) => sleep_until(at).await,
                None => self.0.body_added.notified().await,
            }
        }
    }
}

impl InFlightRequest {
    /// Whether the connection is being closed because its client does not read.
    pub fn is_stalled(&self) -> bool {
        self.0.0.stalled.load(Relaxed)
    }

    /// Adds a body to those that the write timeout checks.
    pub(in crate::inbound) fn track_body(&self, body: Weak<dyn StallableBody>) {
        let inner = &self.0.0;
        let mut bodies = inner.bodies.lock();
        if bodies.len() == bodies.capacity() {
            bodies.retain(|body| body.strong_count() > 0);
        }
        bodies.push(body);
        drop(bodies);
        inner.body_added.notify_one();
    }
}

impl Default for ConnectionActivity {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for InFlightRequest {
    fn clone(&self) -> Self {
        self.0.begin()
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        let inner = &self.0.0;
        let since = u64::try_from((Instant::now() - inner.opened).as_millis()).unwrap_or(u64::MAX);
        inner.idle_since.store(since, Relaxed);
        inner.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(75);

    #[tokio::test(start_paused = true)]
    async fn idle_time_starts_at_the_end_of_the_last_request() {
        let activity = ConnectionActivity::new();
        let opened = Instant::now();
        let (one, two) = (activity.begin(), activity.begin());
        let ending = tokio::spawn(async move {
            tokio::time::sleep(IDLE * 2).await;
            drop(one);
            tokio::time::sleep(IDLE * 2).await;
            drop(two);
        });
        activity.wait_idle(IDLE).await;
        assert!(ending.is_finished());
        let idle = opened.elapsed().as_secs() - IDLE.as_secs() * 4;
        assert!(
            (IDLE.as_secs()..IDLE.as_secs() * 2).contains(&idle),
            "{idle} s"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_idle_from_the_start() {
        let opened = Instant::now();
        ConnectionActivity::new().wait_idle(IDLE).await;
        assert_eq!(opened.elapsed().as_secs(), IDLE.as_secs());
    }
}
