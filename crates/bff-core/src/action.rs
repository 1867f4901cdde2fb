//! A write of several steps: the client's key for it, what came of each step, and what undoes the steps before one that
//! failed.
//!
//! The steps of one action are told apart by keys that follow from the client's own ([`Key::of`]), so that the same
//! request again repeats no step that was done. A step that is refused undoes those before it, the latest first. A step
//! whose outcome is unknown undoes nothing: it may have been done, and the same key again settles it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use serde::Serialize;

use crate::context::Cx;
use crate::error::codes;
use crate::outbound::{Failure, Fetched};

pub use key::Key;

mod key;

/// How long undoing may take, whatever is left of the request's own time.
const UNDO_WITHIN: Duration = Duration::from_secs(5);

/// A write that was done: 201, and nobody keeps the answer.
#[derive(Debug)]
pub struct Created<T>(pub T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let mut response = (StatusCode::CREATED, Json(self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// What came of each step, by its name, in the order begun.
pub type Told = Vec<(&'static str, &'static str)>;

/// The steps of one action.
pub struct Steps<'a> {
    told: Mutex<Told>,
    undoing: Mutex<Vec<Undo<'a>>>,
    cx: Cx,
}

/// What undoes a step.
struct Undo<'a> {
    step: &'static str,
    undone: &'static str,
    work: Box<dyn FnOnce(Cx) -> BoxFuture<'a, Result<(), Failure>> + Send + 'a>,
}

impl<'a> Steps<'a> {
    /// No step yet.
    pub fn of(cx: &Cx) -> Self {
        Self {
            told: Mutex::default(),
            undoing: Mutex::default(),
            cx: cx.clone(),
        }
    }

    /// Takes a step; `done` is the word for what stands when it was.
    pub async fn take<T, S>(
        &self,
        step: &'static str,
        done: &'static str,
        work: impl Future<Output = Result<Fetched<T, S>, Failure>>,
    ) -> Result<Arc<T>, Failure> {
        // Said first, so that a step that is never heard of again is told as what it is.
        self.came(step, "unknown");
        match work.await {
            Ok(fetched) => {
                self.came(step, done);
                Ok(fetched.value)
            }
            Err(failure) => {
                self.came(step, came_to(&failure));
                Err(failure)
            }
        }
    }

    /// Says what undoes a step that was taken, should a later one be refused; `undone` is the word for what stands then.
    /// `work` is given a context with time of its own.
    pub fn undone_by<T, F>(
        &self,
        step: &'static str,
        undone: &'static str,
        work: impl FnOnce(Cx) -> F + Send + 'a,
    ) where
        F: Future<Output = Result<T, Failure>> + Send + 'a,
    {
        let work = Box::new(|cx| work(cx).map(|done| done.map(drop)).boxed());
        self.undoing.lock().push(Undo { step, undone, work });
    }

    /// What the action came to. A refused one has been undone by then, as far as that could be done; it tells what
    /// stands.
    pub async fn end<T>(self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        let failure = match outcome {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        if !is_unknown(&failure) {
            let cx = self.cx.beyond(UNDO_WITHIN);
            let mut undoing = std::mem::take(&mut *self.undoing.lock());
            while let Some(Undo { step, undone, work }) = undoing.pop() {
                match work(cx.clone()).await {
                    Ok(()) => self.came(step, undone),
                    Err(failure) if is_unknown(&failure) => self.came(step, "unknown"),
                    // It stands.
                    Err(_) => {}
                }
            }
        }
        let told = self.told.into_inner();
        let unknown = told.iter().any(|(_, came)| *came == "unknown");
        let error = if unknown && !is_unknown(&failure) {
            Failure::unknown()
                .error()
                .because(failure.reason().as_str())
        } else {
            failure.error()
        };
        Err(failure.told_as(error.after_steps(told)))
    }

    /// Says what a step came to, for one that follows from another.
    pub fn came(&self, step: &'static str, to: &'static str) {
        let mut told = self.told.lock();
        match told.iter_mut().find(|(name, _)| *name == step) {
            Some(entry) => entry.1 = to,
            None => told.push((step, to)),
        }
    }
}

fn is_unknown(failure: &Failure) -> bool {
    failure.error().code().name() == codes::OUTCOME_UNKNOWN.name()
}

/// The word for a step that failed.
fn came_to(failure: &Failure) -> &'static str {
    match failure.answered() {
        _ if is_unknown(failure) => "unknown",
        Some(status) if status.as_u16() == 402 => "declined",
        Some(status) if status.is_client_error() => "refused",
        _ => "not_done",
    }
}

#[cfg(test)]
mod tests;
