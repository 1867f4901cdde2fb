//! A response body that yields to other tasks (tokio's cooperative scheduling), with trailers that tonic can read.
//!
//! A decoder reads as long as data is available. Sockets use tokio's budget and yield after a while. HTTP/2 frames come
//! through a queue without a budget. Without this wrapper, a backend that sends endlessly would block its reader, whose
//! timeout would never fire.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop::poll_proceed;

use super::response_head::remove_invalid_fields;

/// A body that uses tokio's cooperative budget.
pub(super) struct CooperativeBody<B>(pub(super) B);

impl<B: Body<Data = Bytes> + Unpin> Body for CooperativeBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let budget = ready!(poll_proceed(cx));
        let mut frame = Pin::new(&mut self.0).poll_frame(cx);
        if frame.is_ready() {
            budget.made_progress();
        }
        if let Poll::Ready(Some(Ok(frame))) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            remove_invalid_fields(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_timeout_of_an_endless_body_fires() {
        let frame = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"more")));
        let endless = StreamBody::new(stream::repeat_with(frame));
        let mut body = CooperativeBody(endless);
        let read = async { while body.frame().await.is_some() {} };
        assert!(timeout(Duration::from_millis(20), read).await.is_err());
    }
}
