//! Answers that are offered over HTTP/2 and not taken.
//!
//! There one answer can stand still while others on the same connection go on, and hyper asks a body for its next piece
//! only once the client has taken the last one: nobody would ever wake a body whose client takes nothing. So each is
//! noted with its connection, which takes it back when it was not asked for anything for too long. The backend's body is
//! dropped with it, and every place that it held. The stream itself, with one piece, stays until its client resets it or
//! the connection has been idle for long.

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

/// The most handed on at once (RFC 9113 §4.2: a frame is not larger unless asked for): a client that takes one of these
/// within the limit gets on.
const CHUNK_BYTES: usize = 16 << 10;

/// The body for a connection of this HTTP version: over HTTP/2 the connection enforces `write_timeout` on it.
pub(super) fn wrap(body: LoggedBody, version: Version) -> Body {
    if version != Version::HTTP_2 || body.is_end_stream() {
        return Body::new(body);
    }
    let Some(request) = body.in_flight().cloned() else {
        return Body::new(body);
    };
    let body = WriteTimeoutBody::new(body);
    request.track_body(body.offer());
    Body::new(body)
}

/// An answer's body, until it is taken or taken back.
struct WriteTimeoutBody(Arc<BodyHandle>);

/// What the connection knows of it.
#[derive(Debug)]
struct BodyHandle(Mutex<PendingBody>);

#[derive(Debug)]
struct PendingBody {
    /// None once it was taken back.
    body: Option<LoggedBody>,
    /// What is left of the last piece of it.
    rest: Bytes,
    /// Since when the client has something to take; none while there is nothing.
    since: Option<Instant>,
}

impl WriteTimeoutBody {
    /// Offers a body.
    fn new(body: LoggedBody) -> Self {
        Self(Arc::new(BodyHandle(Mutex::new(PendingBody {
            body: Some(body),
            rest: Bytes::new(),
            since: Some(Instant::now()),
        }))))
    }

    /// For the connection.
    fn offer(&self) -> Weak<BodyHandle> {
        Arc::downgrade(&self.0)
    }
}

impl StallableBody for BodyHandle {
    /// Takes it back if nothing of it was taken for so long; otherwise tells when to look again.
    fn check_timeout(&self, now: Instant, limit: Duration) -> Option<Instant> {
        let mut standing = self.0.lock();
        let again = standing.since.unwrap_or(now) + limit;
        if again > now {
            return Some(again);
        }
        let body = standing.body.take();
        standing.rest = Bytes::new();
        // What goes with it may take a lock of its own.
        drop(standing);
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
        let standing = &mut *self.0.0.lock();
        standing.since = None;
        if standing.rest.is_empty() {
            let Some(body) = &mut standing.body else {
                let untaken = axum::Error::new("nothing of it was taken for too long");
                return Poll::Ready(Some(Err(untaken)));
            };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => standing.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return other,
            }
        }
        standing.since = Some(Instant::now());
        let most = standing.rest.len().min(CHUNK_BYTES);
        let piece = standing.rest.split_to(most);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let standing = self.0.0.lock();
        let ended = standing
            .body
            .as_ref()
            .is_some_and(LoggedBody::is_end_stream);
        standing.rest.is_empty() && ended
    }

    fn size_hint(&self) -> SizeHint {
        let standing = self.0.0.lock();
        let Some(body) = &standing.body else {
            return SizeHint::default();
        };
        let (mut hint, rest) = (body.size_hint(), standing.rest.len() as u64);
        match hint.exact() {
            Some(exact) => hint.set_exact(exact + rest),
            None => hint.set_lower(hint.lower() + rest),
        }
        hint
    }
}
