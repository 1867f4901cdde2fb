//! Whether Redis answers: said once when it stops and once when it starts again, and not asked in between. Of a cluster a
//! part may be away while the others answer.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What is known of Redis.
#[derive(Debug)]
pub(super) struct Availability {
    opened: Instant,
    pause: Duration,
    parts: Box<[Part]>,
    /// How many of them are away.
    away: AtomicUsize,
}

#[derive(Debug, Default)]
struct Part {
    away: AtomicBool,
    /// While away: when to ask again, in milliseconds since `opened`.
    ask_at: AtomicU64,
}

impl Availability {
    pub(super) fn new(pause: Duration, parts: usize) -> Self {
        Self {
            opened: Instant::now(),
            pause,
            parts: (0..parts).map(|_| Part::default()).collect(),
            away: AtomicUsize::new(0),
        }
    }

    /// How many parts there are.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Whether any part is.
    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed) > 0
    }

    /// Whether to ask a part now. While it is away one question in each pause is, to learn whether it is back.
    pub(super) fn should_try(&self, part: usize) -> bool {
        let part = &self.parts[part];
        if !part.away.load(Ordering::Relaxed) {
            return true;
        }
        let now = self.millis();
        let at = part.ask_at.load(Ordering::Relaxed);
        let next = now + self.pause_millis();
        now >= at
            && (part.ask_at)
                .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    pub(super) fn answered(&self, part: usize) {
        let away = &self.parts[part].away;
        let came_back = away.load(Ordering::Relaxed) && away.swap(false, Ordering::Relaxed);
        if came_back && self.away.fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::info!("the store is back");
        }
    }

    pub(super) fn failed(&self, part: usize, why: &str) {
        let part = &self.parts[part];
        let next = self.millis() + self.pause_millis();
        part.ask_at.store(next, Ordering::Relaxed);
        let went = !part.away.swap(true, Ordering::Relaxed);
        if went && self.away.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(why, "the store is away");
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn pause_millis(&self) -> u64 {
        u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Lines;

    #[tokio::test(start_paused = true)]
    async fn while_away_one_question_a_pause_is_asked() {
        let link = Availability::new(Duration::from_millis(250), 1);
        assert!(link.should_try(0) && link.should_try(0));
        link.failed(0, "silence");
        assert!(link.is_away() && !link.should_try(0));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert!(link.should_try(0) && !link.should_try(0));
        link.answered(0);
        assert!(link.should_try(0) && link.should_try(0) && !link.is_away());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_is_away_keeps_nobody_from_the_others_and_all_of_it_is_said_once() {
        let lines = Lines::default();
        let _guard = lines.listen();
        let link = Availability::new(Duration::from_millis(250), 3);
        for _ in 0..2 {
            link.failed(1, "silence");
            link.failed(2, "silence");
            link.answered(0);
        }
        assert!(link.should_try(0) && !link.should_try(1) && !link.should_try(2));
        link.answered(1);
        assert!(link.should_try(1) && link.is_away());
        link.answered(2);
        assert!(!link.is_away());
        assert_eq!(lines.told("the store is away"), 1);
        assert_eq!(lines.told("the store is back"), 1);
    }
}
