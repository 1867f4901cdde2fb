//! Whether Redis answers: said once when it stops and once when it starts again, and not asked in between.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What is known of Redis.
#[derive(Debug)]
pub(super) struct Link {
    opened: Instant,
    pause: Duration,
    away: AtomicBool,
    /// While away: when to ask again, in milliseconds since `opened`.
    ask_at: AtomicU64,
}

impl Link {
    pub(super) fn new(pause: Duration) -> Self {
        Self {
            opened: Instant::now(),
            pause,
            away: AtomicBool::new(false),
            ask_at: AtomicU64::new(0),
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Whether to ask now. While Redis is away one question in each pause is, to learn whether it is back.
    pub(super) fn may_ask(&self) -> bool {
        if !self.is_away() {
            return true;
        }
        let now = self.millis();
        let at = self.ask_at.load(Ordering::Relaxed);
        let next = now + u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX);
        now >= at
            && (self.ask_at)
                .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    pub(super) fn answered(&self) {
        if self.is_away() && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!("the store is back");
        }
    }

    pub(super) fn failed(&self, why: &str) {
        let next = self.millis() + u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX);
        self.ask_at.store(next, Ordering::Relaxed);
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(why, "the store is away");
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn while_away_one_question_a_pause_is_asked() {
        let link = Link::new(Duration::from_millis(250));
        assert!(link.may_ask() && link.may_ask());
        link.failed("silence");
        assert!(link.is_away() && !link.may_ask());
        tokio::time::advance(Duration::from_millis(250)).await;
        assert!(link.may_ask() && !link.may_ask());
        link.answered();
        assert!(link.may_ask() && link.may_ask() && !link.is_away());
    }
}
