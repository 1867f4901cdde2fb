//! Cancellation of a stream with `RST_STREAM`.
//!
//! Dropping only the request body would close the sending half normally. A backend could then treat a disconnected
//! client as one that has sent everything.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Extensions, Status};

/// The extension of a request that can be cancelled.
#[derive(Clone)]
struct CancelHandle(CancellationToken);

/// Creates a guard that cancels on drop, and the extensions of the request that it cancels.
pub(super) fn cancel_guard() -> (DropGuard, Extensions) {
    let token = CancellationToken::new();
    let mut extensions = Extensions::default();
    extensions.insert(CancelHandle(token.clone()));
    (token.drop_guard(), extensions)
}

/// Makes the body of a request with a cancel handle cancellable.
pub(super) fn make_cancellable(mut request: http::Request<Body>) -> http::Request<Body> {
    match request.extensions_mut().remove() {
        Some(CancelHandle(token)) => request.map(|body| {
            Body::new(CancellableBody {
                body,
                cancelled: Box::pin(token.cancelled_owned()),
            })
        }),
        None => request,
    }
}

/// A request body that fails with `CANCEL` after the cancellation.
struct CancellableBody {
    body: Body,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl http_body::Body for CancellableBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.cancelled.as_mut().poll(cx).is_ready() {
            let mut status = Status::cancelled("the client cancelled the stream");
            // h2 resets the stream with this reason.
            status.set_source(Arc::new(h2::Error::from(h2::Reason::CANCEL)));
            return Poll::Ready(Some(Err(status)));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use http_body_util::{BodyExt, Full};

    use super::*;

    fn request(extensions: Extensions) -> http::Request<Body> {
        let body = Body::new(Full::new(Bytes::from_static(b"hello")));
        let mut request = http::Request::new(body);
        *request.extensions_mut() = extensions;
        make_cancellable(request)
    }

    #[tokio::test]
    async fn a_cancelled_body_resets_the_stream() {
        let (guard, extensions) = cancel_guard();
        let mut body = request(extensions).into_body();
        drop(guard);
        let status = body.frame().await.unwrap().unwrap_err();
        let cause = status.source().unwrap().downcast_ref::<h2::Error>();
        assert_eq!(cause.unwrap().reason(), Some(h2::Reason::CANCEL));
    }

    #[tokio::test]
    async fn a_body_that_is_not_cancelled_is_sent_completely() {
        let (guard, extensions) = cancel_guard();
        let (disarmed, disarmed_extensions) = cancel_guard();
        disarmed.disarm();
        for extensions in [extensions, disarmed_extensions, Extensions::default()] {
            let body = request(extensions).into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes(), "hello");
        }
        drop(guard);
    }
}
