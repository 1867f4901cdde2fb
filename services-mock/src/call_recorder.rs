//! The one layer around every backend: it counts the call, then lets the standing faults have it.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::DATE;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use parking_lot::Mutex;

use crate::backend::Backend;
use crate::connection::Hangup;
use crate::faults::{self, ActiveFaults, Failure, Mode};
use crate::response::Problem;
use crate::stats::Counters;
use crate::world::MockState;

/// The largest request body a backend takes.
const MAX_BODY_BYTES: usize = 1 << 20;

/// A moment of a call, for whoever watches from the same process.
#[derive(Clone, Copy, Debug)]
pub enum CallEvent<'a> {
    /// It reached the backend.
    Arrived {
        /// Its method.
        method: &'a Method,
        /// Its path, as sent.
        path: &'a str,
        /// Its headers; of gRPC, its metadata.
        headers: &'a HeaderMap,
    },
    /// It was answered to the end, or its caller left.
    Left,
}

/// Is told every moment of every call, with the call's number.
pub(crate) type CallObserver = Box<dyn Fn(Backend, u64, CallEvent<'_>) + Send + Sync>;

/// What is watched of one backend.
#[derive(Debug, Default)]
pub(crate) struct CallRecorder {
    pub(crate) counters: Mutex<Counters>,
    pub(crate) faults: Mutex<ActiveFaults>,
}

/// Which backend of which world a layer watches.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) world: Arc<MockState>,
    pub(crate) backend: Backend,
}

/// The layer.
pub(crate) async fn watch(watched: Watched, request: Request, next: Next) -> Response {
    let guard = Guard::new(&watched, &request);
    let head = request.method() == Method::HEAD;
    let mut response = answer(&watched, request, next).await;
    if let Some(date) = watched.world.clock.date_header() {
        response.headers_mut().insert(DATE, date);
    }
    if head {
        // The server never reads the body of an answer to HEAD, so its end is here.
        guard.finish();
        return response;
    }
    response.map(|inner| Body::new(Tracked { inner, guard }))
}

async fn answer(watched: &Watched, request: Request, next: Next) -> Response {
    let grpc = watched.backend.is_grpc();
    // A body that is not read to its end hides a hang-up from the server, so it is read first.
    let request = if grpc {
        request
    } else {
        match buffered(request).await {
            Ok(request) => request,
            Err(problem) => return problem.into_response(),
        }
    };
    let blow = {
        let draw = watched.world.draw;
        let mut standing = watched.probe().faults.lock();
        standing.apply(draw, watched.backend.name(), request.uri().path())
    };
    if !blow.delay.is_zero() {
        tokio::time::sleep(blow.delay).await;
    }
    let Some(failure) = blow.failure else {
        return next.run(request).await;
    };
    if let Some(response) = faults::answer(failure, grpc) {
        return response;
    }
    if failure == Failure::Mode(Mode::Reset)
        && let Some(hangup) = request.extensions().get::<Hangup>()
    {
        hangup.cut();
    }
    pending().await
}

async fn buffered(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|e| {
        if e.is::<LengthLimitError>() {
            let message = format!("a body has at most {MAX_BODY_BYTES} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
        } else {
            Problem::bad_request(format!("unreadable body: {e}"))
        }
    })?;
    Ok(Request::from_parts(parts, Body::from(body.to_bytes())))
}

impl Watched {
    fn probe(&self) -> &CallRecorder {
        self.world.probe(self.backend)
    }
}

/// Counts a call out when dropped: cancelled, unless somebody said that it had finished.
struct Guard {
    watched: Watched,
    number: u64,
    finished: bool,
    hangup: Option<Hangup>,
}

impl Guard {
    fn new(watched: &Watched, request: &Request) -> Self {
        let extensions = request.extensions();
        let template = extensions
            .get::<MatchedPath>()
            .filter(|_| !watched.backend.is_grpc());
        let route = template.map_or_else(|| request.uri().path(), MatchedPath::as_str);
        watched
            .probe()
            .counters
            .lock()
            .arrived(route, request.headers());
        let moment = CallEvent::Arrived {
            method: request.method(),
            path: request.uri().path(),
            headers: request.headers(),
        };
        let number = watched.world.arrived();
        watched.world.tell(watched.backend, number, moment);
        Self {
            watched: watched.clone(),
            number,
            finished: false,
            hangup: extensions.get().cloned(),
        }
    }

    fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A connection cut by a fault is not a caller who left.
        let cut = self.hangup.as_ref().is_some_and(Hangup::is_cut);
        self.watched
            .probe()
            .counters
            .lock()
            .left(!self.finished && !cut);
        let Watched { world, backend } = &self.watched;
        world.tell(*backend, self.number, CallEvent::Left);
    }
}

/// A body that knows whether it was read to its end.
struct Tracked {
    inner: Body,
    guard: Guard,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let end = match &polled {
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || self.inner.is_end_stream(),
            Poll::Pending => false,
        };
        self.guard.finished |= end;
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.guard.finished |= self.inner.is_end_stream();
    }
}
