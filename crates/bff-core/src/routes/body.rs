//! Bodies on their way through: bounded in bytes and in silence, never gathered.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::write_completion::UploadState;
use crate::error::{Error, codes};
use crate::outbound::{ClientBodyError, InFlightGuard, InstanceClients};

/// Measures how long somebody is waited for.
#[derive(Debug)]
struct IdleTimer {
    longest: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    fn of(longest: Duration) -> Self {
        Self {
            longest,
            timer: None,
        }
    }

    /// Something came.
    fn reset(&mut self) {
        self.timer = None;
    }

    /// Nothing came: whether for too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let longest = self.longest;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(longest)));
        timer.as_mut().poll(cx)
    }
}

const ENDED_EARLY: &str = "The body ended early.";

/// What a client sends.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    left: u64,
    silence: IdleTimer,
    coming: UploadState,
    spoilt: ClientBodyError,
}

impl Upload {
    /// At most `most` bytes, never silent for longer than `idle`; its end is told to `coming`, what is wrong to `spoilt`.
    pub(super) fn new(
        body: Body,
        most: u64,
        idle: Duration,
        (coming, spoilt): (UploadState, ClientBodyError),
    ) -> Self {
        Self {
            body,
            left: most,
            silence: IdleTimer::of(idle),
            coming,
            spoilt,
        }
    }

    fn fail(&self, error: Error) -> axum::Error {
        let told = axum::Error::new(error.detail().to_owned());
        self.spoilt.set(error);
        told
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let me = self.get_mut();
        loop {
            let frame = match Pin::new(&mut me.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => {
                    let ended = Error::new(codes::INVALID_REQUEST, ENDED_EARLY);
                    return Poll::Ready(Some(Err(me.fail(ended.with_cause(error)))));
                }
                Poll::Ready(None) if me.coming.mark_complete() => return Poll::Ready(None),
                Poll::Ready(None) => {
                    let left = Error::new(codes::INVALID_REQUEST, ENDED_EARLY);
                    return Poll::Ready(Some(Err(me.fail(left.with_cause("its client was cut")))));
                }
                Poll::Pending => {
                    return me.silence.poll_over(cx).map(|()| {
                        let slow = "The body stopped coming.";
                        Some(Err(me.fail(Error::new(codes::INVALID_REQUEST, slow))))
                    });
                }
            };
            me.silence.reset();
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let Some(left) = me.left.checked_sub(data.len() as u64) else {
                let long = "The body is longer than this address takes.";
                return Poll::Ready(Some(Err(me.fail(Error::new(codes::TOO_LARGE, long)))));
            };
            me.left = left;
            // Of an announced length nobody asks for what comes after the last piece.
            if me.body.is_end_stream() {
                me.coming.mark_complete();
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a backend answers. It holds its place there to the end.
#[derive(Debug)]
pub(super) struct Download {
    /// What was read of it before.
    first: Bytes,
    body: Incoming,
    silence: IdleTimer,
    /// Ends it, of what would go on for as long as somebody listens.
    leaving: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _stay: InFlightGuard<InstanceClients>,
}

impl Download {
    pub(super) fn new(
        body: Incoming,
        idle: Duration,
        stay: InFlightGuard<InstanceClients>,
    ) -> Self {
        Self {
            first: Bytes::new(),
            body,
            silence: IdleTimer::of(idle),
            leaving: None,
            _stay: stay,
        }
    }

    /// Ends when the gateway leaves: a stream of events has no end that could be waited for, and whoever listens asks
    /// again.
    pub(super) fn until(mut self, leaving: CancellationToken) -> Self {
        self.leaving = Some(Box::pin(leaving.cancelled_owned()));
        self
    }

    /// The same body, of which this was read already.
    pub(super) fn after(self, first: Bytes) -> Self {
        Self { first, ..self }
    }
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let me = self.get_mut();
        if let Some(leaving) = &mut me.leaving
            && leaving.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        if !me.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut me.first)))));
        }
        loop {
            match Pin::new(&mut me.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    me.silence.reset();
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(axum::Error::new(error))));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let silent = "the backend said nothing more";
                    return (me.silence.poll_over(cx))
                        .map(|()| Some(Err(axum::Error::new(silent))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(self.body.size_hint().lower() + first);
        if let Some(upper) = self.body.size_hint().upper() {
            hint.set_upper(upper + first);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_that_ends_with_its_client_is_no_whole_one() {
        for gone in [false, true] {
            let coming = UploadState::default();
            let told = (coming.clone(), ClientBodyError::default());
            let piece = futures_util::stream::iter([Ok::<_, std::io::Error>("half")]);
            let mut upload = Upload::new(Body::from_stream(piece), 100, Duration::MAX, told);
            assert!(upload.frame().await.unwrap().is_ok());
            if gone {
                coming.client_gone();
            }
            assert_eq!(upload.frame().await.is_some_and(|end| end.is_err()), gone);
        }
    }
}
