//! The state of one request, its access-log line, and the response body that carries both to their end.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::{Method, Uri};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

use super::connection_activity::InFlightRequest;
use crate::context::{AppVersion, RequestId, Trace};
use crate::error::Error;
use crate::inbound::admission::load_shed::{AdmissionTicket, Slot};
use crate::inbound::edge::Edge;
use crate::inbound::endpoints::EndpointOptions;
use crate::routes::Entry;
use crate::section::ReportedSections;
use crate::section::screen::SECTIONS;
use crate::telemetry::access_log::{AccessLogRecord, AuthState};
use crate::telemetry::metrics::InFlightGuard;

/// The state of a request, shared with the inner middleware. It exists until the response's body is dropped.
#[derive(Clone, Debug)]
pub(crate) struct RequestState(Arc<RequestStateInner>);

#[derive(Debug)]
struct RequestStateInner {
    request_id: RequestId,
    trace: Trace,
    authenticated: AtomicBool,
    slot: OnceLock<Slot>,
}

impl RequestState {
    /// Creates the state of a new request.
    pub(in crate::inbound) fn new(request_id: RequestId, trace: Trace) -> Self {
        Self(Arc::new(RequestStateInner {
            request_id,
            trace,
            authenticated: AtomicBool::new(false),
            slot: OnceLock::new(),
        }))
    }

    /// The request's id.
    pub(crate) fn request_id(&self) -> &RequestId {
        &self.0.request_id
    }

    /// The request's trace.
    pub(crate) fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// Records that authentication succeeded.
    pub(crate) fn set_authenticated(&self) {
        self.0.authenticated.store(true, Ordering::Relaxed);
    }

    /// Holds the request's slot until the body is dropped.
    pub(in crate::inbound) fn hold_slot(&self, slot: Slot) {
        // A request has at most one slot, so this never fails.
        let _ = self.0.slot.set(slot);
    }
}

/// The state of a request before authentication.
pub(in crate::inbound) struct EdgeState<'a> {
    /// The client's IP address for rate limits.
    pub(in crate::inbound) client: Option<IpAddr>,
    /// `None` for pages such as `/health`, and for unknown paths.
    pub(in crate::inbound) options: Option<EndpointOptions>,
    pub(in crate::inbound) request: &'a RequestState,
    pub(in crate::inbound) ticket: Option<&'a AdmissionTicket>,
}

/// The cause in the log of a response that was aborted by `server.write_timeout`.
const CLIENT_STALLED: &str = "the client stopped reading the response";

/// Writes the log line of one request when it is dropped.
pub(in crate::inbound) struct AccessLogGuard {
    edge: Arc<Edge>,
    state: RequestState,
    started: Instant,
    pub(super) method: Method,
    pub(super) uri: Uri,
    route: Option<MatchedPath>,
    proxied: Option<Arc<Entry>>,
    app: Option<AppVersion>,
    status: u16,
    error: Option<Error>,
    /// The error that ended the body early, which is then not a disconnect of the client.
    body_error: Option<String>,
    sections: Option<http::HeaderValue>,
    bytes_out: u64,
    /// Whether the body ended, by its end or by an error.
    ended: bool,
    /// Whether `server.write_timeout` aborted the body.
    aborted: bool,
    _active: InFlightGuard,
    /// Held until the body is dropped, because the connection is not idle before that.
    in_flight: Option<InFlightRequest>,
}

impl AccessLogGuard {
    /// Starts the log line of a request.
    pub(super) fn new(edge: Arc<Edge>, state: RequestState, request: &mut Request) -> Self {
        Self {
            in_flight: request.extensions_mut().remove(),
            started: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            proxied: request.extensions().get::<Arc<Entry>>().cloned(),
            app: AppVersion::from_headers(request.headers()),
            status: 0,
            error: None,
            body_error: None,
            sections: None,
            bytes_out: 0,
            ended: false,
            aborted: false,
            _active: edge.shared.metrics.request_started(),
            edge,
            state,
        }
    }

    /// Records the parts of the response that the log line needs, and counts its sections.
    pub(super) fn record_response(&mut self, response: &mut Response) {
        self.status = response.status().as_u16();
        self.error = response.extensions().get::<Error>().cloned();
        self.sections = response.headers().get(SECTIONS).cloned();
        let reported = response.extensions_mut().remove::<ReportedSections>();
        for section in reported.into_iter().flat_map(|reported| reported.0) {
            let from = section.provenance;
            (self.edge.shared.metrics).section(from.source, from.state, from.reason);
        }
    }
}

impl Drop for AccessLogGuard {
    fn drop(&mut self) {
        let proxied = self.proxied.as_ref().map(|entry| entry.template.as_str());
        let route = self.route.as_ref().map(MatchedPath::as_str).or(proxied);
        let route = route.unwrap_or_default();
        let client_disconnected = !self.ended || self.aborted;
        let status = if client_disconnected {
            499
        } else {
            self.status
        };
        let shared = &self.edge.shared;
        let elapsed = self.started.elapsed();
        (shared.metrics).request_ended(self.method.as_str(), route, status, elapsed);
        let stalled = self
            .in_flight
            .as_ref()
            .is_some_and(InFlightRequest::is_stalled);
        let body_error = self
            .body_error
            .as_deref()
            .or(stalled.then_some(CLIENT_STALLED));
        let app = self.app.as_ref().map(ToString::to_string);
        let authenticated = self.state.0.authenticated.load(Ordering::Relaxed);
        AccessLogRecord {
            method: self.method.as_str(),
            path: self.uri.path(),
            route,
            status,
            duration: elapsed,
            request_id: self.state.request_id().as_str(),
            trace_id: &self.state.trace().trace_id(),
            client: shared.client.to_str().unwrap_or_default(),
            app: app.as_deref(),
            caller: if authenticated {
                AuthState::SignedIn
            } else {
                AuthState::Anonymous
            },
            bytes_out: self.bytes_out,
            upstream_calls: None,
            code: self.error.as_ref().map(|e| e.code().name()),
            cause: self.error.as_ref().and_then(Error::cause).or(body_error),
            sections: self.sections.as_ref().and_then(|s| s.to_str().ok()),
            client_disconnected,
        }
        .log();
    }
}

/// The body of a response, with the guard of its log line.
pub(in crate::inbound) struct LoggedBody {
    body: Body,
    guard: AccessLogGuard,
}

impl LoggedBody {
    /// Wraps a body. The guard writes the log line when the body is dropped.
    pub(super) fn new(body: Body, guard: AccessLogGuard) -> Self {
        Self { body, guard }
    }

    /// The guard of the request on its connection.
    pub(super) fn in_flight(&self) -> Option<&InFlightRequest> {
        self.guard.in_flight.as_ref()
    }

    /// Drops the body because the client does not read it, and logs a disconnect.
    pub(in crate::inbound) fn abort(mut self) {
        self.body = Body::empty();
        self.guard.body_error = Some(CLIENT_STALLED.to_owned());
        self.guard.aborted = true;
    }
}

impl fmt::Debug for LoggedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "response {}", self.guard.status)
    }
}

impl http_body::Body for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.guard.bytes_out += frame.data_ref().map_or(0, |d| d.len() as u64);
                // hyper does not poll again after the last frame of a body of known size.
                self.guard.ended = self.body.is_end_stream();
            }
            Poll::Ready(Some(Err(error))) => {
                self.guard.body_error = Some(error.to_string());
                self.guard.ended = true;
            }
            Poll::Ready(None) => self.guard.ended = true,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        // hyper never polls an empty body, nor the body of a response to HEAD.
        self.guard.ended |= self.body.is_end_stream() || self.guard.method == Method::HEAD;
    }
}
