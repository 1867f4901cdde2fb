//! The middleware of every backend: it counts the call and applies the active faults.

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
use http::{Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::backend::Backend;
use crate::call_recorder::{CallEvent, CallRecorder};
use crate::connection::abort::ConnectionAbort;
use crate::faults::{self, Failure, Mode};
use crate::response::Problem;
use crate::state::MockState;

/// The maximum size of a request body.
const MAX_BODY_BYTES: usize = 1 << 20;

/// The state and the backend of a middleware.
#[derive(Clone)]
pub(crate) struct RecorderContext {
    pub(crate) state: Arc<MockState>,
    pub(crate) backend: Backend,
}

/// Counts a call and applies the active faults.
pub(crate) async fn record_call(
    context: RecorderContext,
    request: Request,
    next: Next,
) -> Response {
    let guard = CallGuard::new(&context, &request);
    let head = request.method() == Method::HEAD;
    let mut response = respond(&context, request, next).await;
    if let Some(date) = context.state.clock.date_header() {
        response.headers_mut().insert(DATE, date);
    }
    if head {
        // The server never reads the body of a response to HEAD.
        guard.finish();
        return response;
    }
    response.map(|inner| Body::new(TrackedBody { inner, guard }))
}

async fn respond(context: &RecorderContext, request: Request, next: Next) -> Response {
    let grpc = context.backend.is_grpc();
    // The server detects a disconnect only after it has read the request body.
    let request = if grpc {
        request
    } else {
        match read_body(request).await {
            Ok(request) => request,
            Err(problem) => return problem.into_response(),
        }
    };
    let fault = {
        let rng = context.state.rng;
        let mut active = context.recorder().faults.lock();
        active.apply(rng, context.backend.name(), request.uri().path())
    };
    if !fault.delay.is_zero() {
        tokio::time::sleep(fault.delay).await;
    }
    let Some(failure) = fault.failure else {
        return next.run(request).await;
    };
    if let Some(response) = faults::response(failure, grpc) {
        return response;
    }
    if failure == Failure::Mode(Mode::Reset)
        && let Some(abort) = request.extensions().get::<ConnectionAbort>()
    {
        abort.abort();
    }
    pending().await
}

async fn read_body(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|e| {
        if e.is::<LengthLimitError>() {
            let message = format!("the body has more than {MAX_BODY_BYTES} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
        } else {
            Problem::bad_request(format!("unreadable body: {e}"))
        }
    })?;
    Ok(Request::from_parts(parts, Body::from(body.to_bytes())))
}

impl RecorderContext {
    fn recorder(&self) -> &CallRecorder {
        self.state.recorder(self.backend)
    }
}

/// Counts the end of a call when dropped: as cancelled, unless it has finished.
struct CallGuard {
    context: RecorderContext,
    number: u64,
    finished: bool,
    abort: Option<ConnectionAbort>,
}

impl CallGuard {
    fn new(context: &RecorderContext, request: &Request) -> Self {
        let extensions = request.extensions();
        let template = extensions
            .get::<MatchedPath>()
            .filter(|_| !context.backend.is_grpc());
        let route = template.map_or_else(|| request.uri().path(), MatchedPath::as_str);
        context
            .recorder()
            .counters
            .lock()
            .call_started(route, request.headers());
        let event = CallEvent::Arrived {
            method: request.method(),
            path: request.uri().path(),
            headers: request.headers(),
        };
        let number = context.state.next_call_number();
        context
            .state
            .notify_observer(context.backend, number, event);
        Self {
            context: context.clone(),
            number,
            finished: false,
            abort: extensions.get().cloned(),
        }
    }

    fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        // A connection that a fault aborted is not a cancelled call.
        let aborted = self.abort.as_ref().is_some_and(ConnectionAbort::is_aborted);
        self.context
            .recorder()
            .counters
            .lock()
            .call_ended(!self.finished && !aborted);
        let RecorderContext { state, backend } = &self.context;
        state.notify_observer(*backend, self.number, CallEvent::Ended);
    }
}

/// A response body that records whether it was sent completely.
struct TrackedBody {
    inner: Body,
    guard: CallGuard,
}

impl http_body::Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let finished = match &polled {
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || self.inner.is_end_stream(),
            Poll::Pending => false,
        };
        self.guard.finished |= finished;
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.guard.finished |= self.inner.is_end_stream();
    }
}
