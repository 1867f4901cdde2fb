//! A saga: the steps of one write, the outcome of each, and the compensations that run when a later step is refused.

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

/// The name and the outcome of each step, in the order they started.
pub type StepOutcomes = Vec<(&'static str, &'static str)>;

/// The backend may have executed the step.
const UNKNOWN: &str = "unknown";
/// The backend did not execute the step.
const NOT_DONE: &str = "not_done";

/// The steps of one attempt at a write.
pub struct Saga<'a> {
    outcomes: Mutex<StepOutcomes>,
    compensations: Mutex<Vec<Compensation<'a>>>,
    cx: RequestContext,
    attempt: &'a WriteAttempt,
}

/// The call that reverts a completed step.
struct Compensation<'a> {
    step: &'static str,
    /// The step's outcome if the compensation fails.
    before: &'static str,
    /// The step's outcome if the compensation succeeds.
    after: &'static str,
    work: Box<dyn FnOnce(RequestContext) -> BoxFuture<'a, Result<(), Failure>> + Send + 'a>,
}

impl<'a> Saga<'a> {
    /// A saga without steps.
    pub fn new(cx: &RequestContext, attempt: &'a WriteAttempt) -> Self {
        Self {
            outcomes: Mutex::default(),
            compensations: Mutex::default(),
            cx: cx.clone(),
            attempt,
        }
    }

    /// Executes a step. `done` is its outcome when it succeeds, such as "placed".
    pub async fn step<T, S>(
        &self,
        step: &'static str,
        done: &'static str,
        work: impl Future<Output = Result<Fetched<T, S>, Failure>>,
    ) -> Result<Arc<T>, Failure> {
        self.attempt.mark_started();
        // Recorded first: a step that never returns stays unknown.
        self.record(step, UNKNOWN);
        match work.await {
            Ok(fetched) => {
                self.record(step, done);
                Ok(fetched.value)
            }
            Err(failure) => {
                self.record(step, self.failed_outcome(&failure));
                Err(failure)
            }
        }
    }

    /// Adds the compensation of a completed step. It runs if a later step is refused. `undone` is the step's outcome
    /// after it, such as "cancelled". `work` gets a context with its own deadline.
    pub fn compensate_with<T, F>(
        &self,
        step: &'static str,
        undone: &'static str,
        work: impl FnOnce(RequestContext) -> F + Send + 'a,
    ) where
        F: Future<Output = Result<T, Failure>> + Send + 'a,
    {
        let before = self.outcome_of(step);
        let work = Box::new(|cx| work(cx).map(|done| done.map(drop)).boxed());
        self.compensations.lock().push(Compensation {
            step,
            before,
            after: undone,
            work,
        });
    }

    /// Ends the saga with the action's outcome. After a refusal it runs the compensations. The error lists the outcome
    /// of each step. An undecided failure becomes `outcome_unknown`.
    pub async fn end<T>(self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        let failure = match outcome {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        if !self.is_undecided(&failure) {
            self.compensate().await;
        }
        let outcomes = self.outcomes.lock().clone();
        let unknown = outcomes.iter().any(|(_, outcome)| *outcome == UNKNOWN);
        let mut error = failure.error();
        if (unknown || self.is_undecided(&failure)) && error.code() != codes::OUTCOME_UNKNOWN {
            let cause = error.cause().unwrap_or(failure.reason().as_str());
            error = Failure::outcome_unknown().error().with_cause(cause);
        }
        if outcomes.iter().all(|(_, outcome)| *outcome == NOT_DONE) {
            self.attempt.mark_untouched();
        }
        let steps = outcomes
            .into_iter()
            .map(|(step, outcome)| (Cow::Borrowed(step), Cow::Borrowed(outcome)));
        Err(failure.with_public_error(error.with_steps(steps.collect())))
    }

    /// Runs the compensations, the latest step first, and stops at the first one that fails. The steps before it then
    /// remain too, so a retry of the write can complete the steps or compensate the rest.
    async fn compensate(&self) {
        let cx = self.cx.with_deadline(COMPENSATION_TIMEOUT);
        let mut compensations = std::mem::take(&mut *self.compensations.lock());
        while let Some(compensation) = compensations.pop() {
            let failure = match (compensation.work)(cx.clone()).await {
                Ok(()) => {
                    self.record(compensation.step, compensation.after);
                    continue;
                }
                Err(failure) => failure,
            };
            let unknown = is_unknown(&failure);
            let outcome = if unknown {
                UNKNOWN
            } else {
                compensation.before
            };
            self.record(compensation.step, outcome);
            self.attempt.mark_partial();
            return;
        }
    }

    /// Sets the outcome of a step. Call it directly for a step that another step's call also executes.
    pub fn record(&self, step: &'static str, outcome: &'static str) {
        let mut outcomes = self.outcomes.lock();
        match outcomes.iter_mut().find(|(name, _)| *name == step) {
            Some(entry) => entry.1 = outcome,
            None => outcomes.push((step, outcome)),
        }
    }

    fn outcome_of(&self, step: &str) -> &'static str {
        let outcomes = self.outcomes.lock();
        let entry = outcomes.iter().find(|(name, _)| *name == step);
        entry.map_or(UNKNOWN, |(_, outcome)| outcome)
    }

    /// Whether the step may have been executed, by this attempt or an earlier one without a stored outcome. After such
    /// an earlier attempt, only a definitive rejection proves that it was not.
    fn is_undecided(&self, failure: &Failure) -> bool {
        is_unknown(failure) || (self.attempt.is_retry() && !failure.is_definitive_rejection())
    }

    /// The outcome of a step that failed.
    fn failed_outcome(&self, failure: &Failure) -> &'static str {
        match failure.upstream_status() {
            _ if self.is_undecided(failure) => UNKNOWN,
            Some(status) if status.as_u16() == 402 => "declined",
            Some(status) if status.is_client_error() => "refused",
            _ => NOT_DONE,
        }
    }
}

/// Whether the backend may have executed the call, or still executes it after an earlier request timed out.
fn is_unknown(failure: &Failure) -> bool {
    let code = failure.error().code();
    code == codes::OUTCOME_UNKNOWN || code == codes::IN_PROGRESS
}
