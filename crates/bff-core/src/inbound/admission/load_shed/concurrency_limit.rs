//! How many requests are worked on at once, found by measuring: a gradient limit that checks its own diagnosis.
//!
//! It counts in windows. As long as answers take about what they usually take, a limit that is in use grows by its
//! square root; when they take more than [`Config::tolerance`] times that, it shrinks in proportion. That is the
//! gradient of Netflix's concurrency-limits, after TCP Vegas (Brakmo and Peterson 1995). When answers are lost (too
//! late, or refused for want of capacity) it backs off by a factor, as AIMD does (Chiu and Jain 1989), whatever
//! latency says. Plain AIMD alone would let latency grow to the deadline before it acts, and everybody would wait.
//!
//! The weak spot of gradients is what they compare with. A long average (gradient2) follows a lasting overload until
//! that is usual too; a minimum (Vegas, BBR) never forgives a backend that became slower for a reason of its own, and
//! starves its clients. Here what is usual follows what is measured with at most [`Config::min`] in flight, where no
//! limit applies; beyond that it falls but does not rise, and shrinking is taken as the experiment it is. By Little's
//! law what is in flight is throughput times latency: once it has become much less, one of the two has fallen. If that
//! is latency, load had made it slow. If it is throughput, load had not: the new latency is what answers take now, and
//! the limit goes back to what it was. The same experiment is made on purpose now and then while requests are refused,
//! as BBR looks for its minimum: a gateway that was started in the midst of an overload knows nothing better.

use std::time::Duration;

use tokio::time::Instant;

use window::{Measured, Window};

pub use config::Config;

mod config;
#[cfg(test)]
mod tests;
mod window;

/// From which share of lost answers on a window is held against the limit.
const LOST: f64 = 0.1;
/// What is left of a limit under which answers were lost.
const BACK_OFF: f64 = 0.8;
/// The least that one window leaves of a limit, so that one odd window does not close the gateway.
const FLOOR: f64 = 0.5;
/// How far one window moves what is usual.
const WEIGHT: f64 = 0.2;
/// A limit far above its use is first brought to so many times that, or shrinking would have no effect for long.
const ABOVE_USE: f64 = 1.5;
/// Up to so many times what is usual nothing waits. When it is so twice in a row, for what one window lets in the next
/// one measures, a limit in use grows by [`QUICK`] and not by its root.
const CALM: f64 = 1.25;
/// By which part: five times the load is let in within two seconds.
const QUICK: f64 = 0.25;
/// An experiment has its result when no more than this part of what was in flight is left.
const FEWER: f64 = 0.65;
/// Latency that load has caused is then less than this part of what it was: half way between 0.65 and 1.
const SHORTER: f64 = 0.82;
/// What an experiment made on purpose leaves in flight. Half would find twice the usual just as long as usual.
const EXPERIMENT_FRACTION: f64 = 0.25;
/// How often it is made while requests are refused: at one window each time, less than a hundredth of the work is lost.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How one request ended, as far as that says how loaded the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It was answered after this time.
    Completed(Duration),
    /// It was answered too late, or a backend had no capacity for it.
    Lost(Duration),
    /// The client left after this time. Longer than usual, it counts as an answer that took so long, or those who
    /// wait longest would not be seen; shorter, it says nothing.
    Disconnected(Duration),
}

/// The limit of one gateway.
#[derive(Clone, Debug)]
pub struct AdaptiveConcurrencyLimit {
    config: Config,
    /// The limit itself; its fraction counts when it grows.
    slots: f64,
    /// What an answer takes that waits for no other, in seconds; `None` until something was measured.
    baseline: Option<f64>,
    window: Window,
    trial: Option<Experiment>,
    /// When what is usual was last compared with fewer in flight.
    compared: Instant,
    /// Whether nothing waited in the last window either.
    unloaded: bool,
    /// The limit shrank: what was let in before still ends in this window, which therefore says nothing.
    cooling_down: bool,
}

/// How things were when an experiment began, at their worst.
#[derive(Clone, Copy, Debug)]
struct Experiment {
    limit: f64,
    used: f64,
    mean: f64,
    /// Whether it is made on purpose, so that the limit goes back whatever the result.
    deliberate: bool,
}

impl AdaptiveConcurrencyLimit {
    /// Nothing measured.
    pub fn new(config: &Config, now: Instant) -> Self {
        Self {
            slots: f64::from(config.initial.get()),
            config: config.clone(),
            baseline: None,
            window: Window::open(now),
            trial: None,
            compared: now,
            unloaded: false,
            cooling_down: false,
        }
    }

    /// How many requests may be in flight now.
    pub fn current(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between min and max, which are of this type"
        )]
        let whole = self.slots as u32;
        whole.clamp(self.config.min.get(), self.config.max.get())
    }

    /// A request was refused: the limit is in use, whatever the average says.
    pub fn refused(&mut self) {
        self.window.refused = true;
    }

    /// A request ended, one of so many in flight; whether the limit may have moved.
    pub fn ended(&mut self, now: Instant, ended: RequestOutcome, in_flight: u32) -> bool {
        let time = match ended {
            RequestOutcome::Completed(time) => time,
            RequestOutcome::Lost(time) => {
                self.window.lost += 1;
                time
            }
            RequestOutcome::Disconnected(time)
                if self.baseline.is_some_and(|u| time.as_secs_f64() > u) =>
            {
                time
            }
            RequestOutcome::Disconnected(_) => return false,
        };
        self.window.answers += 1;
        self.window.sum += time.as_secs_f64();
        self.window.in_flight += u64::from(in_flight);
        let Some(measured) = self.window.over(now, self.config.window) else {
            return false;
        };
        self.window = Window::open(now);
        if !std::mem::take(&mut self.cooling_down) {
            self.learn(now, measured);
        }
        true
    }

    fn learn(&mut self, now: Instant, seen: Measured) {
        let few = seen.used <= f64::from(self.config.min.get());
        let tried = self.trial.is_some();
        let usual = self.compare(now, seen, few);
        let calm = !tried && seen.mean <= CALM * usual;
        let quick = std::mem::replace(&mut self.unloaded, calm) && calm;
        self.baseline = Some(usual);
        if seen.lost >= LOST {
            self.end_trial();
            if !few {
                self.shrink(seen.used, BACK_OFF);
            }
        } else if self.trial.is_some_and(|trial| trial.deliberate) {
            // What it costs must not be mistaken for what load costs.
        } else if seen.mean > self.config.latency_tolerance * usual {
            // Not at once: one window may be odd, and while requests pile up latency lags behind them.
            if !few && self.is_confirmed(seen) {
                let by = self.config.latency_tolerance * usual / seen.mean;
                self.shrink(seen.used, by.max(FLOOR));
            }
        } else {
            self.trial = None;
            if seen.refused && !few && now.duration_since(self.compared) >= LOOK_EVERY {
                self.trial = Some(self.trial_of(seen, true));
                self.shrink(seen.used, EXPERIMENT_FRACTION);
            } else if seen.refused || seen.used > self.slots / 2.0 {
                let quick = if quick { QUICK * self.slots } else { 0.0 };
                self.set(self.slots + self.slots.sqrt().max(quick));
            }
        }
    }

    /// What is usual, after what was seen.
    fn compare(&mut self, now: Instant, seen: Measured, few: bool) -> f64 {
        let usual = self.baseline.unwrap_or(seen.mean);
        let fewer = |trial: &Experiment| few || seen.used <= FEWER * trial.used;
        if !self.trial.as_ref().is_some_and(fewer) {
            let follows = few || seen.mean < usual;
            if few {
                self.compared = now;
            }
            return usual
                + if follows {
                    WEIGHT * (seen.mean - usual)
                } else {
                    0.0
                };
        }
        let by_load = self.trial.is_some_and(|t| seen.mean <= SHORTER * t.mean);
        self.compared = now;
        if by_load {
            if self.trial.is_some_and(|trial| trial.deliberate) {
                self.end_trial();
            }
            self.trial = None;
            return usual.min(seen.mean);
        }
        self.end_trial();
        seen.mean
    }

    /// Whether answers were too slow before this window too; a trial begins if not.
    fn is_confirmed(&mut self, seen: Measured) -> bool {
        if let Some(trial) = &mut self.trial {
            trial.used = trial.used.max(seen.used);
            trial.mean = trial.mean.max(seen.mean);
            return true;
        }
        self.trial = Some(self.trial_of(seen, false));
        false
    }

    fn trial_of(&self, seen: Measured, look: bool) -> Experiment {
        Experiment {
            limit: self.slots,
            used: seen.used,
            mean: seen.mean,
            deliberate: look,
        }
    }

    /// The limit goes back to what it was before the trial, if there is one.
    fn end_trial(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.slots = self.slots.max(trial.limit);
        }
    }

    fn shrink(&mut self, used: f64, by: f64) {
        self.set(self.slots.min(used * ABOVE_USE) * by);
        self.cooling_down = true;
    }

    fn set(&mut self, limit: f64) {
        let (min, max) = (self.config.min.get(), self.config.max.get());
        self.slots = limit.clamp(f64::from(min), f64::from(max));
    }
}
