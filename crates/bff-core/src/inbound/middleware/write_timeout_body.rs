//! Enforces `server.write_timeout` for HTTP/2 responses that the client does not read.
//!
//! On HTTP/2, one stream can stall while others on the same connection proceed. hyper polls a body for the next frame
//! only after the client has read the last one, so nothing would wake a stalled body. Therefore each body is registered
//! with its connection, which aborts it if it is not polled for too long. The backend's body is dropped with it, and
//! all permits that it holds. The stream itself, with one frame, remains until the client resets it or the connection's
//! idle timeout.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::Version;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection_activity::StallableBody;
use super::request_state::LoggedBody;

/// The largest chunk: HTTP/2's default frame size (RFC 9113 §4.2). A client makes progress if it reads one chunk within
/// the timeout.
const CHUNK_BYTES: usize = 16 << 10;

/// Converts to a body for a connection of this HTTP version. HTTP/2 needs a write timeout for each body.
pub(super) fn wrap(body: LoggedBody, version: Version) -> Body {
    if version != Version::HTTP_2 || body.is_end_stream() {
        return Body::new(body);
    }
    let Some(request) = body.in_flight().cloned() else {
        return Body::new(body);
    };
    let body = WriteTimeoutBody::new(body);
    request.track_body(body.handle());
    Body::new(body)
}

/// A response's body with a write timeout.
struct WriteTimeoutBody(Arc<BodyHandle>);

/// The connection's handle of a body.
#[derive(Debug)]
struct BodyHandle(Mutex<PendingBody>);

#[derive(Debug)]
struct PendingBody {
    /// `None` after an abort.
    body: Option<LoggedBody>,
    /// The unsent part of the last frame.
    rest: Bytes,
    /// The time of the last chunk, which the client has to read. `None` while the body has none.
    since: Option<Instant>,
}

impl WriteTimeoutBody {
    /// Wraps a body. The timeout starts now.
    fn new(body: LoggedBody) -> Self {
        Self(Arc::new(BodyHandle(Mutex::new(PendingBody {
            body: Some(body),
            rest: Bytes::new(),
            since: Some(Instant::now()),
        }))))
    }

    /// The handle for the connection.
    fn handle(&self) -> Weak<BodyHandle> {
        Arc::downgrade(&self.0)
    }
}

impl StallableBody for BodyHandle {
    fn check_timeout(&self, now: Instant, limit: Duration) -> Option<Instant> {
        let mut pending = self.0.lock();
        let deadline = pending.since.unwrap_or(now) + limit;
        if deadline > now {
            return Some(deadline);
        }
        let body = pending.body.take();
        pending.rest = Bytes::new();
        // The drop of the body may take other locks.
        drop(pending);
        if let Some(body) = body {
            body.abort();
        }
        None
    }
}

impl http_body::Body for WriteTimeoutBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let pending = &mut *self.0.0.lock();
        pending.since = None;
        if pending.rest.is_empty() {
            let Some(body) = &mut pending.body else {
                let aborted = axum::Error::new("write timeout: the client did not read the body");
                return Poll::Ready(Some(Err(aborted)));
            };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => pending.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return other,
            }
        }
        pending.since = Some(Instant::now());
        let len = pending.rest.len().min(CHUNK_BYTES);
        let chunk = pending.rest.split_to(len);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        let pending = self.0.0.lock();
        let ended = pending.body.as_ref().is_some_and(LoggedBody::is_end_stream);
        pending.rest.is_empty() && ended
    }

    fn size_hint(&self) -> SizeHint {
        let pending = self.0.0.lock();
        let Some(body) = &pending.body else {
            return SizeHint::default();
        };
        let (mut hint, rest) = (body.size_hint(), pending.rest.len() as u64);
        match hint.exact() {
            Some(exact) => hint.set_exact(exact + rest),
            None => hint.set_lower(hint.lower() + rest),
        }
        hint
    }
}
