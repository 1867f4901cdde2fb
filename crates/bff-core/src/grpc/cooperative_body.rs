//! An answer's body that takes turns with what else runs on its thread.
//!
//! A decoder reads for as long as there is something to read. Sockets give way after a while by themselves, but the
//! bytes of HTTP/2 come through a queue that another thread may fill: without this, a backend that sends without end
//! would keep its reader from ever seeing that its time is up.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop::poll_proceed;

/// A body that gives way.
pub(super) struct CooperativeBody<B>(pub(super) B);

impl<B: Body<Data = Bytes> + Unpin> Body for CooperativeBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let turn = ready!(poll_proceed(cx));
        let frame = Pin::new(&mut self.0).poll_frame(cx);
        if frame.is_ready() {
            turn.made_progress();
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
    async fn a_reader_of_what_never_ends_sees_its_time_pass() {
        let frame = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"more")));
        let endless = StreamBody::new(stream::repeat_with(frame));
        let mut body = CooperativeBody(endless);
        let read = async { while body.frame().await.is_some() {} };
        assert!(timeout(Duration::from_millis(20), read).await.is_err());
    }
}
