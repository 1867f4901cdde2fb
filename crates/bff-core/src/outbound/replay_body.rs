//! A client's body on its way to a backend: lent to an attempt, and back in one piece if nothing of it was sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum_core::body::Body;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

/// How long a client that waits for `100 Continue` is kept waiting by a backend that says nothing (RFC 9110 §10.1.1
/// has the client itself not wait for ever).
const EXPECT_CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a request carries.
#[derive(Clone, Debug)]
pub(crate) enum RequestBody {
    /// Read already: it can be sent again.
    Buffered(Bytes),
    /// Still with the client. It can be sent as long as nothing of it was.
    Streaming(Arc<Mutex<Option<Body>>>),
}

impl RequestBody {
    /// A body that streams through.
    pub(crate) fn streamed(body: Body) -> Self {
        Self::Streaming(Arc::new(Mutex::new(Some(body))))
    }

    /// The body for one attempt; with a gate nothing is asked of the client before it opens.
    pub(super) fn body_for_attempt(&self, gate: Option<Arc<ContinueSignal>>) -> AttemptBody {
        match self {
            Self::Buffered(bytes) => AttemptBody {
                from: Arc::new(Mutex::new(Some(Body::from(bytes.clone())))),
                hint: SizeHint::with_exact(bytes.len() as u64),
                body: None,
                gate: None,
                patience: None,
            },
            Self::Streaming(from) => AttemptBody {
                hint: from
                    .lock()
                    .as_ref()
                    .map_or_else(SizeHint::default, Body::size_hint),
                from: from.clone(),
                body: None,
                gate,
                patience: None,
            },
        }
    }
}

/// Opens when the backend says `100 Continue`.
#[derive(Debug, Default)]
pub(super) struct ContinueSignal {
    open: AtomicBool,
    waker: AtomicWaker,
}

impl ContinueSignal {
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.open.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// The body of one attempt. It takes the client's when it is first asked for a piece.
#[derive(Debug)]
pub(super) struct AttemptBody {
    from: Arc<Mutex<Option<Body>>>,
    hint: SizeHint,
    body: Option<Body>,
    gate: Option<Arc<ContinueSignal>>,
    patience: Option<Pin<Box<Sleep>>>,
}

impl AttemptBody {
    /// Waits for the gate, but not for ever.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(gate) = &self.gate else {
            return Poll::Ready(());
        };
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(sleep(EXPECT_CONTINUE_TIMEOUT)));
        if gate.poll_open(cx).is_pending() && patience.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        (self.gate, self.patience) = (None, None);
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
        let me = self.get_mut();
        if me.poll_gate(cx).is_pending() {
            return Poll::Pending;
        }
        if me.body.is_none() {
            me.body = me.from.lock().take();
        }
        match &mut me.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Some(body) => body.is_end_stream(),
            None => self.hint.exact() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => self.hint,
        }
    }
}
