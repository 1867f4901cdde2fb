//! Forwards a client's request to a backend, under the same policies as every other call.
//!
//! Responses are forwarded with any status. A 5xx counts as a failure of the backend and may be retried; the client
//! receives the response of the last attempt.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::attempt;
use crate::clients::replay_body::{ContinueSignal, RequestBody};
use crate::clients::stream::InstanceClients;
use crate::endpoints::balance::Instance;
use crate::policies::in_flight_guard::InFlightGuard;
use crate::policies::retry;
use crate::policies::retry::RetryTraits;
use crate::upstream::Upstream;
use bff_context::context::{Failure, Reason, RequestContext, SharedDeadline};
use bff_context::error::Error;

/// The route label of all forwarded requests in the metrics of a backend. The edge's metrics distinguish the routes.
const ROUTE: &str = "pass-through";

/// A request to forward.
#[derive(Clone, Debug)]
pub struct ForwardRequest {
    /// The method of the client's request.
    pub method: Method,
    /// The path and query at the backend, percent-encoded.
    pub target: String,
    /// The forwarded headers of the client, with the caller's identity.
    pub headers: HeaderMap,
    /// The body, which a retry can send again while it is small.
    pub body: RequestBody,
    /// Whether the request may be retried.
    pub retry: RetryPolicy,
    /// The attempt timeout, if it differs from the backend's `attempt_timeout`.
    pub attempt_timeout: Option<Duration>,
    /// Whether the client waits for `100 Continue` (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// Whether the request needs HTTP/1.1, for an upgrade or the client's `Host` header.
    pub http1_only: bool,
    /// Whether `101 Switching Protocols` is an expected response.
    pub upgrade: bool,
    /// The error of the client's body, if one occurs while it is read.
    pub client_error: ClientBodyError,
}

/// The rule for retries of a forwarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// The route's configuration forbids retries.
    Never,
    /// Only a request that was not sent is retried.
    IfUnsent,
    /// The request is idempotent, so it may be retried after it was sent.
    Idempotent,
}

/// An error of the client's body that ended a call, reported by the body. It does not count against the backend.
#[derive(Clone, Debug, Default)]
pub struct ClientBodyError(Arc<OnceLock<Error>>);

impl ClientBodyError {
    /// Sets the error. Only the first error counts.
    pub fn set(&self, error: Error) {
        let _ = self.0.set(error);
    }

    /// Replaces the failure by the client's error, if one is set, because that caused the failure.
    fn or_client_error(&self, failure: Failure) -> Failure {
        match self.0.get() {
            // A failure with a 4xx status neither counts against the backend nor is retried.
            Some(error) => Failure::from(error.clone()).with_response(error.status(), Bytes::new()),
            None => failure,
        }
    }
}

/// A response whose body is still streaming, with its in-flight guard.
#[derive(Debug)]
pub struct ForwardResponse {
    /// The response of the backend.
    pub response: Response<Incoming>,
    /// Counts the request as in flight until it is dropped.
    pub guard: InFlightGuard<InstanceClients>,
}

/// Forwards a request, under every policy except the hedge.
pub async fn forward(
    cx: &RequestContext,
    up: &Upstream,
    request: &ForwardRequest,
) -> Result<ForwardResponse, Failure> {
    let started = Instant::now();
    // The response of the last attempt, if it counted as a failure. A retry drops it first.
    let failed_response = Mutex::new(None);
    let attempt = |instance: Arc<Instance<InstanceClients>>, timeout| {
        let failed_response = &failed_response;
        async move {
            failed_response.lock().take();
            let response = forward_once(cx, up, instance, request, timeout).await;
            let response =
                response.map_err(|failure| request.client_error.or_client_error(failure))?;
            match failure_from_response(&response.response, up.policy.env().now()) {
                None => Ok(response),
                Some(failure) => {
                    failed_response.lock().replace(response);
                    Err(failure)
                }
            }
        }
    };
    let deadline = SharedDeadline::new(cx.upstream_deadline());
    let traits = request.retry_traits();
    let result = Box::pin(up.policy.call(cx, &deadline, traits, attempt)).await;
    up.policy.record_call(ROUTE, started, &result);
    match (result, failed_response.into_inner()) {
        (Ok(response), _) | (Err(_), Some(response)) => Ok(response),
        (Err(failure), None) => Err(failure
            .with_upstream(up.name())
            .for_write(!request.method.is_safe())),
    }
}

impl ForwardRequest {
    fn retry_traits(&self) -> RetryTraits {
        let never: fn(&Failure, bool) -> bool = |_, _| false;
        RetryTraits {
            idempotent: self.retry == RetryPolicy::Idempotent,
            hedged: false,
            attempt_timeout: self.attempt_timeout,
            streaming: true,
            is_retryable: if self.retry == RetryPolicy::Never {
                never
            } else {
                retry::is_retryable
            },
        }
    }
}

/// Runs one attempt until the response headers.
async fn forward_once(
    cx: &RequestContext,
    up: &Upstream,
    instance: Arc<Instance<InstanceClients>>,
    forward: &ForwardRequest,
    timeout: Duration,
) -> Result<ForwardResponse, Failure> {
    let target = up.policy.config().url.origin_form(forward.target.clone());
    let target = target.map_err(|error| Failure::internal(error).not_sent())?;
    let signal = forward
        .expects_continue
        .then(Arc::<ContinueSignal>::default);
    let mut request = Request::new(forward.body.body_for_attempt(signal.clone()));
    *request.method_mut() = forward.method.clone();
    *request.uri_mut() = target.into();
    *request.headers_mut() = forward.headers.clone();
    attempt::propagate(cx, up.policy.env(), timeout, request.headers_mut());
    if let Some(signal) = signal {
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                signal.set();
            }
        });
    }
    let response = (instance.payload())
        .exchange(request, forward.http1_only)
        .await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !forward.upgrade {
        let cause = "unexpected 101 Switching Protocols";
        return Err(Failure::new(Reason::BadResponse).with_cause(cause));
    }
    let guard = InFlightGuard::acquire(&up.policy, instance, true);
    Ok(ForwardResponse { response, guard })
}

/// The failure that a response counts as, if any.
fn failure_from_response(response: &Response<Incoming>, now: SystemTime) -> Option<Failure> {
    let status = response.status();
    let reason = match status.as_u16() {
        429 => Reason::Overloaded,
        503 => Reason::Unavailable,
        500.. => Reason::BadResponse,
        _ => return None,
    };
    let failure = Failure::new(reason).with_response(status, Bytes::new());
    Some(failure.with_retry_after(attempt::retry_after(response.headers(), now)))
}
