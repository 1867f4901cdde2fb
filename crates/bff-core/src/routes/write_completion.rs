//! Completes forwarded writes. If the client disconnects before its whole body arrived, the write is cancelled. After
//! that, it runs to its end without the client.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use axum::response::Response;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

use crate::context::RequestContext;
use crate::inbound::extract;
use crate::outbound::Failure;

const UPLOADING: u8 = 0;
const COMPLETE: u8 = 1;
const DISCONNECTED: u8 = 2;

/// The state of a client's body.
#[derive(Clone, Debug, Default)]
pub(super) struct UploadState(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Uploading, then complete or disconnected, whichever happens first. The end of a body after a disconnect looks
    /// like a regular end.
    phase: AtomicU8,
    /// Whether the backend waits for the client's next chunk.
    waiting: AtomicBool,
    /// Whether the headers of the response have arrived.
    has_response: AtomicBool,
}

impl UploadState {
    /// Records whether the backend waits for the client's next chunk.
    pub(super) fn set_waiting(&self, waiting: bool) {
        self.0.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Records that the headers of the response have arrived. The deadline does not apply to the rest of the body.
    pub(super) fn set_has_response(&self) {
        self.0.has_response.store(true, Ordering::Relaxed);
    }

    /// Whether the headers of the response have arrived.
    pub(super) fn has_response(&self) -> bool {
        self.0.has_response.load(Ordering::Relaxed)
    }

    /// Whether the client has not sent its whole body, and nothing else is missing.
    fn is_client_late(&self) -> bool {
        self.0.phase.load(Ordering::Acquire) == UPLOADING && self.0.waiting.load(Ordering::Relaxed)
    }

    /// Records that the whole body has arrived. Returns false if the client had disconnected before.
    pub(super) fn mark_complete(&self) -> bool {
        self.finish(COMPLETE)
    }

    /// Records that the client has disconnected. Returns false if the whole body had arrived before.
    pub(super) fn client_gone(&self) -> bool {
        self.finish(DISCONNECTED)
    }

    /// Returns whether the state is `end` from now on.
    fn finish(&self, end: u8) -> bool {
        match (self.0.phase).compare_exchange(UPLOADING, end, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(current) => current == end,
        }
    }

    /// Runs a write. At the deadline, the client gets an error with an unknown outcome, and the write continues. If the
    /// client's body is late, the write is cancelled, and the backend has no complete request.
    pub(super) async fn run(
        self,
        cx: &RequestContext,
        tasks: &TaskTracker,
        write: impl Future<Output = Result<Response, Failure>> + Send + 'static,
    ) -> Result<Response, Failure> {
        let task = tasks.spawn(write);
        let client = ClientGuard {
            upload: self,
            write: task.abort_handle(),
        };
        match timeout_at(cx.deadline(), task).await {
            Ok(Ok(result)) => result,
            Err(_) if client.upload.is_client_late() => Err(extract::body_is_late().into()),
            // A panic or the deadline: the write may have been applied.
            Ok(Err(_)) | Err(_) => Err(Failure::outcome_unknown()),
        }
    }
}

/// Detects the disconnect of the client by its drop. It is dropped before the body, so the end of the body is not taken
/// for a complete upload.
struct ClientGuard {
    upload: UploadState,
    write: AbortHandle,
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        if self.upload.client_gone() {
            self.write.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_complete_and_disconnected_wins() {
        let upload = UploadState::default();
        assert!(upload.mark_complete() && upload.mark_complete());
        assert!(!upload.client_gone(), "the upload was complete before");
        let upload = UploadState::default();
        assert!(upload.client_gone());
        assert!(!upload.mark_complete(), "the client disconnected before");
    }
}
