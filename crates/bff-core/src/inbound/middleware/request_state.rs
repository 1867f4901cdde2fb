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
use crate::net;
use crate::routes::Entry;
use crate::section::ReportedSections;
use crate::section::screen::SECTIONS;
use crate::telemetry::access_log::{AccessLogRecord, AuthState};
use crate::telemetry::metrics::InFlightGuard;

/// What was seen of a request when it came in, and what it holds; shared with what is inside, and kept to the end of the
/// answer's body.
#[derive(Clone, Debug)]
pub(crate) struct RequestState(Arc<SeenInner>);

#[derive(Debug)]
struct SeenInner {
    request_id: RequestId,
    trace: Trace,
    signed_in: AtomicBool,
    slot: OnceLock<Slot>,
}

impl RequestState {
    /// The state of a request that has just arrived.
    pub(in crate::inbound) fn new(request_id: RequestId, trace: Trace) -> Self {
        Self(Arc::new(SeenInner {
            request_id,
            trace,
            signed_in: AtomicBool::new(false),
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

    /// Notes that the credential was good.
    pub(crate) fn signed_in(&self) {
        self.0.signed_in.store(true, Ordering::Relaxed);
    }

    /// Holds the request's slot to the end. A client that hangs up gives it back.
    pub(in crate::inbound) fn hold(&self, slot: Slot) {
        // There is one a request.
        let _ = self.0.slot.set(slot);
    }
}

/// What is known of a request before anybody asks who sent it.
pub(in crate::inbound) struct EdgeState<'a> {
    /// Where it came from, as it counts.
    pub(in crate::inbound) client: Option<IpAddr>,
    /// None of pages such as `/health`, and where there is nothing.
    pub(in crate::inbound) door: Option<EndpointOptions>,
    pub(in crate::inbound) seen: &'a RequestState,
    pub(in crate::inbound) standing: Option<&'a AdmissionTicket>,
}

/// Why an answer was given up whose client is still there.
const CLIENT_STALLED: &str = "the client stopped taking the answer";

/// The log line of one request, written when it is dropped.
pub(in crate::inbound) struct AccessLogGuard {
    edge: Arc<Edge>,
    seen: RequestState,
    started: Instant,
    pub(super) method: Method,
    pub(super) uri: Uri,
    route: Option<MatchedPath>,
    passed: Option<Arc<Entry>>,
    app: Option<AppVersion>,
    status: u16,
    error: Option<Error>,
    /// Why the body ended before its end, which is then not the client's doing.
    broken: Option<String>,
    sections: Option<http::HeaderValue>,
    bytes_out: u64,
    ended: bool,
    /// It was taken back from a client that took nothing of it.
    untaken: bool,
    _active: InFlightGuard,
    /// To the last byte too: until then the connection is not idle.
    underway: Option<InFlightRequest>,
}

impl AccessLogGuard {
    /// Starts the record of a request.
    pub(super) fn open(edge: Arc<Edge>, seen: RequestState, request: &mut Request) -> Self {
        Self {
            underway: request.extensions_mut().remove(),
            started: net::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            passed: request.extensions().get::<Arc<Entry>>().cloned(),
            app: AppVersion::from_headers(request.headers()),
            status: 0,
            error: None,
            broken: None,
            sections: None,
            bytes_out: 0,
            ended: false,
            untaken: false,
            _active: edge.shared.metrics.request_started(),
            edge,
            seen,
        }
    }

    /// Takes what the record needs of the response.
    pub(super) fn answered(&mut self, response: &mut Response) {
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
        let passed = self.passed.as_ref().map(|entry| entry.template.as_str());
        let route = self.route.as_ref().map(MatchedPath::as_str).or(passed);
        let route = route.unwrap_or_default();
        let hung_up = !self.ended || self.untaken;
        let status = if hung_up { 499 } else { self.status };
        let shared = &self.edge.shared;
        let took = self.started.elapsed();
        (shared.metrics).request_ended(self.method.as_str(), route, status, took);
        let stalled = self
            .underway
            .as_ref()
            .is_some_and(InFlightRequest::is_stalled);
        let broken = self.broken.as_deref().or(stalled.then_some(CLIENT_STALLED));
        let app = self.app.as_ref().map(ToString::to_string);
        let signed_in = self.seen.0.signed_in.load(Ordering::Relaxed);
        AccessLogRecord {
            method: self.method.as_str(),
            path: self.uri.path(),
            route,
            status,
            took,
            request_id: self.seen.request_id().as_str(),
            trace_id: &self.seen.trace().trace_id(),
            client: shared.client.to_str().unwrap_or_default(),
            app: app.as_deref(),
            caller: if signed_in {
                AuthState::SignedIn
            } else {
                AuthState::Anonymous
            },
            bytes_out: self.bytes_out,
            upstream_calls: None,
            code: self.error.as_ref().map(|e| e.code().name()),
            cause: self.error.as_ref().and_then(Error::cause).or(broken),
            sections: self.sections.as_ref().and_then(|s| s.to_str().ok()),
            client_disconnected: hung_up,
        }
        .log();
    }
}

/// An answer's body that carries the log line to its end.
pub(in crate::inbound) struct LoggedBody {
    body: Body,
    line: AccessLogGuard,
}

impl LoggedBody {
    /// A body that writes the record when it ends.
    pub(super) fn new(body: Body, line: AccessLogGuard) -> Self {
        Self { body, line }
    }

    /// The request, as its connection counts it.
    pub(super) fn in_flight(&self) -> Option<&InFlightRequest> {
        self.line.underway.as_ref()
    }

    /// Nobody takes it: whatever its body had come to, its end was not seen.
    pub(in crate::inbound) fn abort(mut self) {
        self.body = Body::empty();
        self.line.broken = Some(CLIENT_STALLED.to_owned());
        self.line.untaken = true;
    }
}

impl fmt::Debug for LoggedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answer {}", self.line.status)
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
                self.line.bytes_out += frame.data_ref().map_or(0, |d| d.len() as u64);
                // hyper does not ask again after the last piece of a body of known size.
                self.line.ended = self.body.is_end_stream();
            }
            Poll::Ready(Some(Err(error))) => {
                self.line.broken = Some(error.to_string());
                self.line.ended = true;
            }
            Poll::Ready(None) => self.line.ended = true,
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
        // A body without a byte is never polled, and none is missing.
        self.line.ended |= self.body.is_end_stream() || self.line.method == Method::HEAD;
    }
}
