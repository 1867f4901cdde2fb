//! Hanging up resets a conversation's stream. Dropping what is said alone would end our half of it, and a backend might
//! take a client who left for one who has said all.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Extensions, Status};

/// In a request's extensions: what is said with it can be cut off.
#[derive(Clone)]
struct CancelHandle(CancellationToken);

/// Of a conversation that is not over: dropped, it is hung up on.
pub(super) fn line() -> (DropGuard, Extensions) {
    let token = CancellationToken::new();
    let mut extensions = Extensions::default();
    extensions.insert(CancelHandle(token.clone()));
    (token.drop_guard(), extensions)
}

/// Lets a request that has a line be hung up on.
pub(super) fn wire(mut request: http::Request<Body>) -> http::Request<Body> {
    match request.extensions_mut().remove() {
        Some(CancelHandle(token)) => request.map(|said| {
            Body::new(CancellableBody {
                said,
                hung_up: Box::pin(token.cancelled_owned()),
            })
        }),
        None => request,
    }
}

/// What is said, until somebody hangs up.
struct CancellableBody {
    said: Body,
    hung_up: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl http_body::Body for CancellableBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.hung_up.as_mut().poll(cx).is_ready() {
            let mut status = Status::cancelled("the client hung up");
            // What the stream is reset with.
            status.set_source(Arc::new(h2::Error::from(h2::Reason::CANCEL)));
            return Poll::Ready(Some(Err(status)));
        }
        Pin::new(&mut self.said).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.said.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.said.size_hint()
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
        wire(request)
    }

    #[tokio::test]
    async fn what_is_said_after_hanging_up_is_a_reset() {
        let (hold, extensions) = line();
        let mut said = request(extensions).into_body();
        drop(hold);
        let status = said.frame().await.unwrap().unwrap_err();
        let cause = status.source().unwrap().downcast_ref::<h2::Error>();
        assert_eq!(cause.unwrap().reason(), Some(h2::Reason::CANCEL));
    }

    #[tokio::test]
    async fn what_is_not_hung_up_on_is_said_to_its_end() {
        let (hold, extensions) = line();
        let (over, ended) = line();
        over.disarm();
        for extensions in [extensions, ended, Extensions::default()] {
            let said = request(extensions).into_body().collect().await.unwrap();
            assert_eq!(said.to_bytes(), "hello");
        }
        drop(hold);
    }
}
