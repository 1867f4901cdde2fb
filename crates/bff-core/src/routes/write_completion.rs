//! A write that is passed on: given up with its client as long as its body still comes, and done to its end once all of
//! it has come, whatever its client does then.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::response::Response;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

use crate::context::RequestContext;
use crate::outbound::Failure;

const COMING: u8 = 0;
const WHOLE: u8 = 1;
const LEFT: u8 = 2;

/// How far a client has come with its body. Of the two that end it, the first to happen holds: a body that ends
/// because its client was cut looks like one that ends.
#[derive(Clone, Debug, Default)]
pub(super) struct UploadState(Arc<AtomicU8>);

impl UploadState {
    /// All of it has come; false when its client was gone before.
    pub(super) fn mark_complete(&self) -> bool {
        self.end(WHOLE)
    }

    /// Its client is gone; false when all of it had come before.
    pub(super) fn client_gone(&self) -> bool {
        self.end(LEFT)
    }

    /// Whether the state is `end` from now on.
    fn end(&self, end: u8) -> bool {
        match (self.0).compare_exchange(COMING, end, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(known) => known == end,
        }
    }

    /// Runs a write. Whoever still waits at the deadline is told that nobody knows what came of it.
    pub(super) async fn run(
        self,
        cx: &RequestContext,
        tasks: &TaskTracker,
        write: impl Future<Output = Result<Response, Failure>> + Send + 'static,
    ) -> Result<Response, Failure> {
        let task = tasks.spawn(write);
        let _client = Client {
            coming: self,
            write: task.abort_handle(),
        };
        match timeout_at(cx.deadline(), task).await {
            Ok(Ok(done)) => done,
            // It panicked, halfway.
            Ok(Err(_)) | Err(_) => Err(Failure::outcome_unknown()),
        }
    }
}

/// Dropped with the request: before the body is, so that nobody takes the end of that for its client's word.
struct Client {
    coming: UploadState,
    write: AbortHandle,
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.coming.client_gone() {
            self.write.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_holds() {
        let coming = UploadState::default();
        assert!(coming.mark_complete() && coming.mark_complete());
        assert!(!coming.client_gone(), "it is done without its client");
        let coming = UploadState::default();
        assert!(coming.client_gone());
        assert!(!coming.mark_complete(), "its client was cut");
    }
}
