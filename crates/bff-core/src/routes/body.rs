//! Streaming bodies with an idle timeout, and for uploads a size limit. They are never buffered as a whole.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::write_completion::UploadState;
use crate::error::{Error, codes};
use crate::inbound::extract;
use crate::net::IdleTimer;
use crate::outbound::{ClientBodyError, InFlightGuard, InstanceClients};

/// The body of a response to HEAD, if the length of the body that GET has is unknown. The server then sends no
/// `Content-Length`, which would be 0 otherwise (RFC 9110 §8.6).
pub(super) fn of_unknown_length() -> Body {
    Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())
}

/// Between the client's deadline and the backend's, so that a late client is never taken for a slow backend.
const RESERVE: Duration = Duration::from_millis(10);

/// A request body from the client.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    /// The bytes left of the size limit.
    left: u64,
    idle: IdleTimer,
    /// Ends with the time for the response's headers.
    deadline: Pin<Box<Sleep>>,
    state: UploadState,
    error: ClientBodyError,
}

/// The limits of an upload.
#[derive(Clone, Copy, Debug)]
pub(super) struct UploadLimits {
    pub(super) max_bytes: u64,
    /// The longest time between two chunks.
    pub(super) idle_timeout: Duration,
    /// The deadline of the response's headers. The whole body has to arrive before.
    pub(super) deadline: Instant,
}

impl Upload {
    /// Wraps a body. Its end goes to `state`, and its error to `error`.
    pub(super) fn new(
        body: Body,
        limits: UploadLimits,
        (state, error): (UploadState, ClientBodyError),
    ) -> Self {
        let time_left = limits.deadline.saturating_duration_since(Instant::now());
        Self {
            body,
            left: limits.max_bytes,
            idle: IdleTimer::new(limits.idle_timeout),
            deadline: Box::pin(sleep(time_left.saturating_sub(RESERVE.min(time_left / 10)))),
            state,
            error,
        }
    }

    /// Ready with an error when the client has sent nothing for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<axum::Error> {
        let has_deadline = !self.state.has_response();
        let late = has_deadline && self.deadline.as_mut().poll(cx).is_ready();
        if late || self.idle.poll_elapsed(cx).is_ready() {
            return Poll::Ready(self.fail(extract::body_is_late()));
        }
        self.state.set_waiting(true);
        Poll::Pending
    }

    fn fail(&self, error: Error) -> axum::Error {
        let body_error = axum::Error::new(error.detail().to_owned());
        self.error.set(error);
        body_error
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
                    let early = extract::body_ended_early().with_cause(error);
                    return Poll::Ready(Some(Err(me.fail(early))));
                }
                Poll::Ready(None) if me.state.mark_complete() => return Poll::Ready(None),
                Poll::Ready(None) => {
                    let early = extract::body_ended_early();
                    let early = early.with_cause("the client disconnected");
                    return Poll::Ready(Some(Err(me.fail(early))));
                }
                Poll::Pending => return me.poll_late(cx).map(|late| Some(Err(late))),
            };
            me.idle.reset();
            me.state.set_waiting(false);
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let Some(left) = me.left.checked_sub(data.len() as u64) else {
                let large = "The body is larger than this route allows.";
                return Poll::Ready(Some(Err(me.fail(Error::new(codes::TOO_LARGE, large)))));
            };
            me.left = left;
            // hyper does not poll again after the last frame of a body of known length.
            if me.body.is_end_stream() {
                me.state.mark_complete();
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

/// A response body from the backend. Holds the backend's in-flight guard until its end.
#[derive(Debug)]
pub(super) struct Download {
    /// The bytes that were read before.
    first: Bytes,
    body: Incoming,
    idle: IdleTimer,
    /// Ends a body that may be endless.
    shutdown: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _guard: InFlightGuard<InstanceClients>,
}

impl Download {
    pub(super) fn new(
        body: Incoming,
        idle_timeout: Duration,
        guard: InFlightGuard<InstanceClients>,
    ) -> Self {
        Self {
            first: Bytes::new(),
            body,
            idle: IdleTimer::new(idle_timeout),
            shutdown: None,
            _guard: guard,
        }
    }

    /// Ends the body at shutdown: an event stream may be endless, and its client reconnects.
    pub(super) fn end_on(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = Some(Box::pin(shutdown.cancelled_owned()));
        self
    }

    /// Puts bytes that were already read in front of the rest.
    pub(super) fn with_first(self, first: Bytes) -> Self {
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
        if let Some(shutdown) = &mut me.shutdown
            && shutdown.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        if !me.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut me.first)))));
        }
        loop {
            match Pin::new(&mut me.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    me.idle.reset();
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(axum::Error::new(error))));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let stalled = "the backend sent nothing for idle_timeout";
                    return (me.idle.poll_elapsed(cx))
                        .map(|()| Some(Err(axum::Error::new(stalled))));
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
    async fn a_body_that_ends_after_a_disconnect_is_incomplete() {
        for disconnected in [false, true] {
            let state = UploadState::default();
            let handles = (state.clone(), ClientBodyError::default());
            let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>("half")]);
            let limits = UploadLimits {
                max_bytes: 100,
                idle_timeout: Duration::MAX,
                deadline: Instant::now() + Duration::from_secs(60),
            };
            let mut upload = Upload::new(Body::from_stream(chunks), limits, handles);
            assert!(upload.frame().await.unwrap().is_ok());
            if disconnected {
                state.client_gone();
            }
            let failed = upload.frame().await.is_some_and(|end| end.is_err());
            assert_eq!(failed, disconnected);
        }
    }
}
