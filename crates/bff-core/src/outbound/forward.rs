//! A request passed on to a backend as it came, under the same policies as every call of ours.
//!
//! An answer is an answer whatever its status: a 5xx counts against the backend and may be tried again, and when it
//! was the last word it is what the client gets.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::replay_body::{ContinueSignal, RequestBody};
use super::stream::{InFlightGuard, InstanceClients};
use super::{
    Failure, Instance, Reason, RetryTraits, SharedDeadline, Upstream, attempt, record_call, retry,
};
use crate::context::RequestContext;
use crate::error::Error;
use crate::net;

/// What all of these are called in the metrics of a backend; the edge's own tell the routes apart.
const ROUTE: &str = "pass-through";

/// One request to be passed on.
#[derive(Clone, Debug)]
pub(crate) struct ForwardRequest {
    pub(crate) method: Method,
    /// Path and query at the backend, encoded.
    pub(crate) target: String,
    /// What goes along of what the client sent, identity included.
    pub(crate) headers: HeaderMap,
    pub(crate) load: RequestBody,
    /// Whether it may be sent again, and so whether doing it twice is doing it once.
    pub(crate) repeat: RetryPolicy,
    /// How long an attempt may take, if the backend's own `attempt_timeout` does not hold.
    pub(crate) within: Option<Duration>,
    /// Whether the client waits for `100 Continue`.
    pub(crate) expects: bool,
    /// What only HTTP/1.1 can say: an upgrade, a `Host` of another name.
    pub(crate) plain_1: bool,
    /// Whether 101 is an answer.
    pub(crate) upgrade: bool,
    /// What was wrong with the client's own body, once that is known.
    pub(crate) spoilt: ClientBodyError,
}

/// Whether a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryPolicy {
    /// The route says no.
    Never,
    /// Only when it never left.
    IfUnsent,
    /// Doing it twice is doing it once.
    Idempotent,
}

/// Why the client's own body ended a call, told by the body; the backend is not to blame.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientBodyError(Arc<OnceLock<Error>>);

impl ClientBodyError {
    /// The first to tell is right.
    pub(crate) fn set(&self, error: Error) {
        let _ = self.0.set(error);
    }

    /// Whatever failed, failed because of it.
    fn or_client_error(&self, failure: Failure) -> Failure {
        match self.0.get() {
            // A 4xx of ours is held against nobody and never tried again.
            Some(error) => Failure::from(error.clone()).with_response(error.status(), Bytes::new()),
            None => failure,
        }
    }
}

/// An answer whose body is still at the backend, and the place it holds there.
#[derive(Debug)]
pub(crate) struct ForwardResponse {
    pub(crate) response: Response<Incoming>,
    pub(crate) stay: InFlightGuard<InstanceClients>,
}

/// Passes a request on, under every policy but the hedge.
pub(crate) async fn forward(
    cx: &RequestContext,
    up: &Upstream,
    passage: &ForwardRequest,
) -> Result<ForwardResponse, Failure> {
    let started = net::now();
    // The latest answer that counted as a failure; a second attempt forgets it.
    let refused = Mutex::new(None);
    let attempt = |instance: Arc<Instance<InstanceClients>>, time| {
        let refused = &refused;
        async move {
            refused.lock().take();
            let answer = forward_once(cx, up, instance, passage, time).await;
            let answer = answer.map_err(|failure| passage.spoilt.or_client_error(failure))?;
            match failure_from_response(&answer.response) {
                None => Ok(answer),
                Some(failure) => {
                    refused.lock().replace(answer);
                    Err(failure)
                }
            }
        }
    };
    let until = SharedDeadline::new(cx.upstream_deadline());
    let done = Box::pin(up.0.call(cx, &until, passage.repeat(), attempt)).await;
    record_call(cx, up.name(), ROUTE, started, &done);
    match (done, refused.into_inner()) {
        (Ok(answer), _) | (Err(_), Some(answer)) => Ok(answer),
        (Err(failure), None) => Err(failure
            .with_upstream(up.name())
            .for_write(!passage.method.is_safe())),
    }
}

impl ForwardRequest {
    fn repeat(&self) -> RetryTraits {
        let never: fn(&Failure, bool) -> bool = |_, _| false;
        RetryTraits {
            idempotent: self.repeat == RetryPolicy::Idempotent,
            hedged: false,
            attempt_timeout: self.within,
            streaming: true,
            is_retryable: if self.repeat == RetryPolicy::Never {
                never
            } else {
                retry::is_retryable
            },
        }
    }
}

/// One attempt, up to the head of its answer.
async fn forward_once(
    cx: &RequestContext,
    up: &Upstream,
    instance: Arc<Instance<InstanceClients>>,
    passage: &ForwardRequest,
    time: Duration,
) -> Result<ForwardResponse, Failure> {
    let target = up.0.config().url.origin_form(passage.target.clone());
    let target = target.map_err(|error| Failure::internal(error).not_sent())?;
    let gate = passage.expects.then(Arc::<ContinueSignal>::default);
    let mut request = Request::new(passage.load.body_for_attempt(gate.clone()));
    *request.method_mut() = passage.method.clone();
    *request.uri_mut() = target.into();
    *request.headers_mut() = passage.headers.clone();
    attempt::propagate(cx, time, request.headers_mut());
    if let Some(gate) = gate {
        hyper::ext::on_informational(&mut request, move |said| {
            if said.status() == StatusCode::CONTINUE {
                gate.open();
            }
        });
    }
    let response = (instance.payload())
        .exchange(request, passage.plain_1)
        .await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !passage.upgrade {
        let why = "it switched to a protocol that nobody asked for";
        return Err(Failure::new(Reason::BadResponse).with_cause(why));
    }
    let stay = InFlightGuard::at(&up.0, instance, true);
    Ok(ForwardResponse { response, stay })
}

/// What an answer says about the backend, if it says anything bad.
fn failure_from_response(response: &Response<Incoming>) -> Option<Failure> {
    let status = response.status();
    let reason = match status.as_u16() {
        429 => Reason::Overloaded,
        503 => Reason::Unavailable,
        500.. => Reason::BadResponse,
        _ => return None,
    };
    let failure = Failure::new(reason).with_response(status, Bytes::new());
    Some(failure.with_retry_after(attempt::retry_after(response.headers())))
}
