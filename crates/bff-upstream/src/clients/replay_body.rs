//! The request body of a forwarded request. A retry can send it again if it is buffered, or if no attempt has read it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum_core::body::Body;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

/// The time to wait for the backend's `100 Continue` before the body is sent without it (RFC 9110 §10.1.1).
const EXPECT_CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// The body of a forwarded request.
#[derive(Clone, Debug)]
pub enum RequestBody {
    /// A buffered body. It can be sent any number of times.
    Buffered(Bytes),
    /// A streaming body. It can be sent once, by the first attempt that reads it.
    Streaming(Arc<Mutex<Option<Body>>>),
}

impl RequestBody {
    /// Creates a streaming body.
    pub fn streaming(body: Body) -> Self {
        Self::Streaming(Arc::new(Mutex::new(Some(body))))
    }

    /// The body for one attempt. With a signal, the attempt reads the client's body only after the signal.
    pub(crate) fn body_for_attempt(&self, signal: Option<Arc<ContinueSignal>>) -> AttemptBody {
        match self {
            Self::Buffered(bytes) => AttemptBody::Buffered(Full::new(bytes.clone())),
            Self::Streaming(source) => AttemptBody::Streaming(StreamingBody {
                size_hint: source
                    .lock()
                    .as_ref()
                    .map_or_else(SizeHint::default, Body::size_hint),
                source: source.clone(),
                body: None,
                continue_signal: signal,
                continue_timeout: None,
            }),
        }
    }
}

/// A signal that is set when the backend sends `100 Continue`.
#[derive(Debug, Default)]
pub(crate) struct ContinueSignal {
    is_set: AtomicBool,
    waker: AtomicWaker,
}

impl ContinueSignal {
    pub(crate) fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn poll_set(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.is_set.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// The body of one attempt.
#[derive(Debug)]
pub(crate) enum AttemptBody {
    Buffered(Full<Bytes>),
    Streaming(StreamingBody),
}

/// A streaming body. It takes the client's body at the first poll.
#[derive(Debug)]
pub(crate) struct StreamingBody {
    source: Arc<Mutex<Option<Body>>>,
    size_hint: SizeHint,
    body: Option<Body>,
    continue_signal: Option<Arc<ContinueSignal>>,
    continue_timeout: Option<Pin<Box<Sleep>>>,
}

impl StreamingBody {
    /// Waits for the signal, at most [`EXPECT_CONTINUE_TIMEOUT`].
    fn poll_continue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(signal) = &self.continue_signal else {
            return Poll::Ready(());
        };
        let timeout = self
            .continue_timeout
            .get_or_insert_with(|| Box::pin(sleep(EXPECT_CONTINUE_TIMEOUT)));
        if signal.poll_set(cx).is_pending() && timeout.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        (self.continue_signal, self.continue_timeout) = (None, None);
        Poll::Ready(())
    }
}

impl http_body::Body for AttemptBody {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        let streaming = match self.get_mut() {
            Self::Buffered(body) => {
                return Pin::new(body)
                    .poll_frame(cx)
                    .map_err(|never| match never {});
            }
            Self::Streaming(streaming) => streaming,
        };
        if streaming.poll_continue(cx).is_pending() {
            return Poll::Pending;
        }
        if streaming.body.is_none() {
            streaming.body = streaming.source.lock().take();
        }
        match &mut streaming.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Buffered(body) => body.is_end_stream(),
            Self::Streaming(streaming) => match &streaming.body {
                Some(body) => body.is_end_stream(),
                None => streaming.size_hint.exact() == Some(0),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Buffered(body) => body.size_hint(),
            Self::Streaming(streaming) => match &streaming.body {
                Some(body) => body.size_hint(),
                None => streaming.size_hint,
            },
        }
    }
}
