//! Writes that run to their end.

use std::future::Future;

use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

use crate::context::RequestContext;
use crate::outbound::Failure;

/// Runs writes to their end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Completion(TaskTracker);

impl Completion {
    /// Starts its work in `tasks`. Draining waits for them.
    pub fn new(tasks: &TaskTracker) -> Self {
        Self(tasks.clone())
    }

    #[cfg(test)]
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.0
    }

    /// Runs a write to its end, even if the client disconnects or the deadline of `cx` passes. At the deadline, the
    /// outcome is unknown.
    pub async fn run<T, F>(&self, cx: &RequestContext, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let work = self.0.spawn(work);
        match timeout_at(cx.deadline(), work).await {
            Ok(Ok(done)) => done,
            // The task panicked, or it still runs.
            Ok(Err(_)) | Err(_) => Err(Failure::outcome_unknown()),
        }
    }
}
