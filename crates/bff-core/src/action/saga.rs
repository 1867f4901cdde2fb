//! The steps of one write: what came of each, and what undoes those before one that was refused.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::{COMPENSATION_TIMEOUT, WriteAttempt};
use crate::context::RequestContext;
use crate::error::codes;
use crate::outbound::{Failure, Fetched};

/// What came of each step, by its name, in the order begun.
pub type StepOutcomes = Vec<(&'static str, &'static str)>;

/// It may have been done.
const UNKNOWN: &str = "unknown";
/// It was not done.
const NOT_DONE: &str = "not_done";

/// The steps of one try at a write.
pub struct Saga<'a> {
    told: Mutex<StepOutcomes>,
    undoing: Mutex<Vec<Compensation<'a>>>,
    cx: RequestContext,
    run: &'a WriteAttempt,
}

/// What undoes a step.
struct Compensation<'a> {
    step: &'static str,
    /// What stands if it is not undone.
    stands: &'static str,
    undone: &'static str,
    work: Box<dyn FnOnce(RequestContext) -> BoxFuture<'a, Result<(), Failure>> + Send + 'a>,
}

impl<'a> Saga<'a> {
    /// No step yet.
    pub fn of(cx: &RequestContext, run: &'a WriteAttempt) -> Self {
        Self {
            told: Mutex::default(),
            undoing: Mutex::default(),
            cx: cx.clone(),
            run,
        }
    }

    /// Takes a step; `done` is the word for what stands when it was.
    pub async fn step<T, S>(
        &self,
        step: &'static str,
        done: &'static str,
        work: impl Future<Output = Result<Fetched<T, S>, Failure>>,
    ) -> Result<Arc<T>, Failure> {
        self.run.begin();
        // Said first, so that a step that is never heard of again is told as what it is.
        self.record(step, UNKNOWN);
        match work.await {
            Ok(fetched) => {
                self.record(step, done);
                Ok(fetched.value)
            }
            Err(failure) => {
                self.record(step, self.came_to(&failure));
                Err(failure)
            }
        }
    }

    /// Says what undoes a step that was taken, should a later one be refused; `undone` is the word for what stands then.
    /// `work` is given a context with time of its own.
    pub fn compensate_with<T, F>(
        &self,
        step: &'static str,
        undone: &'static str,
        work: impl FnOnce(RequestContext) -> F + Send + 'a,
    ) where
        F: Future<Output = Result<T, Failure>> + Send + 'a,
    {
        let stands = self.came_before(step);
        let work = Box::new(|cx| work(cx).map(|done| done.map(drop)).boxed());
        self.undoing.lock().push(Compensation {
            step,
            stands,
            undone,
            work,
        });
    }

    /// What the action came to. A refused one has been undone by then, as far as that could be done; it tells what
    /// stands.
    pub async fn end<T>(self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        let failure = match outcome {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        if !self.is_undecided(&failure) {
            self.undo().await;
        }
        let told = self.told.lock().clone();
        let unknown = told.iter().any(|(_, came)| *came == UNKNOWN);
        let mut error = failure.error();
        if (unknown || self.is_undecided(&failure)) && error.code() != codes::OUTCOME_UNKNOWN {
            let why = error.cause().unwrap_or(failure.reason().as_str());
            error = Failure::unknown().error().with_cause(why);
        }
        if told.iter().all(|(_, came)| *came == NOT_DONE) {
            self.run.mark_untouched();
        }
        let told = told
            .into_iter()
            .map(|(step, came)| (Cow::Borrowed(step), Cow::Borrowed(came)));
        Err(failure.with_public_error(error.with_steps(told.collect())))
    }

    /// Undoes what was done, the latest first. What comes before one that cannot be undone now stands with it, so that
    /// the same write again goes on from there, or undoes the rest.
    async fn undo(&self) {
        let cx = self.cx.with_deadline(COMPENSATION_TIMEOUT);
        let mut undoing = std::mem::take(&mut *self.undoing.lock());
        while let Some(undo) = undoing.pop() {
            let failure = match (undo.work)(cx.clone()).await {
                Ok(()) => {
                    self.record(undo.step, undo.undone);
                    continue;
                }
                Err(failure) => failure,
            };
            let unknown = is_unknown(&failure);
            self.record(undo.step, if unknown { UNKNOWN } else { undo.stands });
            self.run.mark_partial();
            return;
        }
    }

    /// Says what a step came to, for one that follows from another.
    pub fn record(&self, step: &'static str, to: &'static str) {
        let mut told = self.told.lock();
        match told.iter_mut().find(|(name, _)| *name == step) {
            Some(entry) => entry.1 = to,
            None => told.push((step, to)),
        }
    }

    fn came_before(&self, step: &str) -> &'static str {
        let told = self.told.lock();
        let entry = told.iter().find(|(name, _)| *name == step);
        entry.map_or(UNKNOWN, |(_, came)| came)
    }

    /// Whether nobody knows yet what stands: this try may have done it, or one before it that ended without a word,
    /// and then only a verdict says that it did not.
    fn is_undecided(&self, failure: &Failure) -> bool {
        is_unknown(failure) || (self.run.is_retry() && !failure.is_definitive_rejection())
    }

    /// The word for a step that failed.
    fn came_to(&self, failure: &Failure) -> &'static str {
        match failure.upstream_status() {
            _ if self.is_undecided(failure) => UNKNOWN,
            Some(status) if status.as_u16() == 402 => "declined",
            Some(status) if status.is_client_error() => "refused",
            _ => NOT_DONE,
        }
    }
}

/// The backend may have done it, or still does it for somebody who gave up waiting.
fn is_unknown(failure: &Failure) -> bool {
    let code = failure.error().code();
    code == codes::OUTCOME_UNKNOWN || code == codes::IN_PROGRESS
}
