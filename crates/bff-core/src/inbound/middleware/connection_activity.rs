//! Which requests of one connection are being answered, for how long it has had none, and whether its client takes what
//! it is answered.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::net;

/// The requests of one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionActivity(Arc<Counted>);

/// A request being answered: put into it by the accept loop, and kept until the last byte of its answer. A clone is kept
/// as well as the original.
#[derive(Debug)]
pub struct InFlightRequest(ConnectionActivity);

#[derive(Debug)]
struct Counted {
    opened: Instant,
    underway: AtomicU32,
    /// When the last one ended, in milliseconds since `opened`.
    quiet_since: AtomicU64,
    /// The client took nothing for so long that the connection ends.
    stalled: AtomicBool,
    /// What is offered at the moment, and perhaps what no longer is.
    offers: Mutex<Vec<Weak<dyn StallableBody>>>,
    offered: Notify,
}

/// A response body whose client may stop reading.
pub(in crate::inbound) trait StallableBody:
    Send + Sync + std::fmt::Debug
{
    /// Aborts the body if its client read nothing for `limit`; else the time of the next check.
    fn check_timeout(&self, now: Instant, limit: Duration) -> Option<Instant>;
}

impl ConnectionActivity {
    /// Of a connection that has just been opened.
    pub fn new() -> Self {
        Self(Arc::new(Counted {
            opened: Instant::now(),
            underway: AtomicU32::new(0),
            quiet_since: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            offers: Mutex::default(),
            offered: Notify::new(),
        }))
    }

    /// One more, until what comes back is dropped.
    pub fn begin(&self) -> InFlightRequest {
        self.0.underway.fetch_add(1, Relaxed);
        InFlightRequest(self.clone())
    }

    /// Whether any is being answered.
    pub fn has_in_flight(&self) -> bool {
        self.0.underway.load(Relaxed) > 0
    }

    /// Resolves once there has been none for so long.
    pub async fn wait_idle(&self, idle: Duration) {
        loop {
            let now = Instant::now();
            let since = Duration::from_millis(self.0.quiet_since.load(Relaxed));
            // While there are some, silence has not even begun.
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
    /// The connection ends, for its client takes nothing.
    pub fn mark_stalled(&self) {
        self.0.stalled.store(true, Relaxed);
    }

    /// Gives up every offered answer of which nothing was taken for so long, and goes on looking.
    pub async fn enforce_write_timeout(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let offers: Vec<Arc<dyn StallableBody>> = {
                let mut offers = self.0.offers.lock();
                offers.retain(|offer| offer.strong_count() > 0);
                offers.iter().filter_map(Weak::upgrade).collect()
            };
            let again = offers
                .iter()
                .filter_map(|offer| offer.check_timeout(now, limit));
            let again = again.min();
            drop(offers);
            match again {
                Some(again) => sleep_until(again).await,
                None => self.0.offered.notified().await,
            }
        }
    }
}

impl InFlightRequest {
    /// Whether the connection ends because its client takes nothing.
    pub fn is_stalled(&self) -> bool {
        self.0.0.stalled.load(Relaxed)
    }

    /// Has the connection look after an answer that is offered.
    pub(in crate::inbound) fn track_body(&self, body: Weak<dyn StallableBody>) {
        let counted = &self.0.0;
        let mut offers = counted.offers.lock();
        if offers.len() == offers.capacity() {
            offers.retain(|offer| offer.strong_count() > 0);
        }
        offers.push(body);
        drop(offers);
        counted.offered.notify_one();
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
        let counted = &self.0.0;
        let since = u64::try_from((net::now() - counted.opened).as_millis()).unwrap_or(u64::MAX);
        counted.quiet_since.store(since, Relaxed);
        counted.underway.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(75);

    #[tokio::test(start_paused = true)]
    async fn silence_begins_with_the_last_answers_end() {
        let requests = ConnectionActivity::new();
        let opened = Instant::now();
        let (one, two) = (requests.begin(), requests.begin());
        let ending = tokio::spawn(async move {
            tokio::time::sleep(IDLE * 2).await;
            drop(one);
            tokio::time::sleep(IDLE * 2).await;
            drop(two);
        });
        requests.wait_idle(IDLE).await;
        assert!(ending.is_finished());
        let quiet = opened.elapsed().as_secs() - IDLE.as_secs() * 4;
        assert!(
            (IDLE.as_secs()..IDLE.as_secs() * 2).contains(&quiet),
            "{quiet} s"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_never_asks_is_quiet_from_the_start() {
        let opened = Instant::now();
        ConnectionActivity::new().wait_idle(IDLE).await;
        assert_eq!(opened.elapsed().as_secs(), IDLE.as_secs());
    }
}
