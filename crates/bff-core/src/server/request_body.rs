//! The body of an HTTP/1.1 request: whether all of it has arrived.
//!
//! The next request on a connection begins after the body of this one. So a response to an unread body must end the
//! connection, and say so (RFC 9112 §9.6). A short body is read before, which saves the connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{Request, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::timeout;

/// The largest body that is read although no handler wants it.
const MAX_DISCARDED_BYTES: u64 = 64 << 10;
/// The time for it. It usually arrives together with the headers.
const DISCARD_TIME: Duration = Duration::from_millis(20);

/// The arrival of one request's body. The connection and the body share it.
#[derive(Debug)]
pub(super) struct BodyArrival {
    /// Whether a part has not been read. The connection has this flag too.
    incomplete: Arc<AtomicBool>,
    /// The body, after the handler has dropped it before its end.
    unread: Mutex<Option<Incoming>>,
    /// Whether the client may wait for `100 Continue` before it sends the body.
    expects_continue: bool,
}

impl BodyArrival {
    /// Wraps the body of a request, and sets `incomplete` until all of it has been read. `None` if it has no body.
    pub(super) fn track(
        request: Request<Incoming>,
        incomplete: &Arc<AtomicBool>,
    ) -> (Request<Body>, Option<Arc<Self>>) {
        let is_empty = request.body().is_end_stream();
        incomplete.store(!is_empty, Relaxed);
        if is_empty {
            return (request.map(|_| Body::empty()), None);
        }
        let arrival = Arc::new(Self {
            incomplete: incomplete.clone(),
            unread: Mutex::default(),
            expects_continue: request.headers().contains_key(header::EXPECT),
        });
        let tracked = arrival.clone();
        let request = request.map(|body| {
            Body::new(TrackedBody {
                body: Some(body),
                arrival: tracked,
            })
        });
        (request, Some(arrival))
    }

    /// Whether the whole body has arrived. Reads a short body that the handler did not read.
    pub(super) async fn complete(&self) -> bool {
        let unread = self.unread.lock().take();
        if let Some(mut body) = unread
            && !self.expects_continue
            && body.size_hint().lower() <= MAX_DISCARDED_BYTES
            && let Ok(true) = timeout(DISCARD_TIME, discard(&mut body)).await
        {
            self.incomplete.store(false, Relaxed);
        }
        !self.incomplete.load(Relaxed)
    }
}

/// Reads a body. Returns whether it ended.
async fn discard(body: &mut Incoming) -> bool {
    let mut left = MAX_DISCARDED_BYTES;
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        let data = match frame {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => frame.into_data().map_or(0, |data| data.len() as u64),
        };
        match left.checked_sub(data) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
}

/// A body that reports its end, and returns to its [`BodyArrival`] when it is dropped before.
struct TrackedBody {
    /// `None` after an error.
    body: Option<Incoming>,
    arrival: Arc<BodyArrival>,
}

impl http_body::Body for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        let ended = frame.is_none() || body.is_end_stream();
        if let Some(Err(_)) = frame {
            self.body = None;
        } else if ended {
            self.arrival.incomplete.store(false, Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map(Incoming::size_hint)
            .unwrap_or_default()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        if self.arrival.incomplete.load(Relaxed) {
            *self.arrival.unread.lock() = self.body.take();
        }
    }
}
