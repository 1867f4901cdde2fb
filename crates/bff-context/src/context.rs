//! The context of one request: an explicit first parameter, never a task-local.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum_core::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderValue, Uri};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::error::{Error, codes};
use crate::scope::{Caller, Language, Region, Segment};

pub use app_version::AppVersion;
pub use bff_runtime::net::Env;
pub use cache_result::CacheResult;
pub use deadline::{Deadline, RequestTimeout};
pub use failure::{Failure, Reason};
pub use id::{Id, InvalidId, Short, deserialize_id, id_schema, validate_id};
pub use provenance::{Fetched, Freshness, Provenance};
pub use request_id::RequestId;
pub use retry_allowance::RequestRetryAllowance;
pub use shared_deadline::SharedDeadline;
pub use trace::Trace;
pub use urgency::Urgency;

pub mod app_version;
mod cache_result;
pub mod deadline;
mod failure;
mod id;
mod provenance;
pub mod request_id;
mod retry_allowance;
mod shared_deadline;
pub mod trace;
pub mod urgency;

/// The context of one request: caller, deadline, urgency and ids. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: HeaderValue,
    public_url: Arc<str>,
    uri: Uri,
    shutdown: CancellationToken,
    request_id: RequestId,
    trace: Trace,
    deadline: Deadline,
    urgency: Urgency,
    language: Language,
    region: Region,
    caller: Option<Caller>,
    identity_was_read: AtomicBool,
    retry_allowance: RequestRetryAllowance,
}

/// The parts to build a context from.
#[derive(Debug)]
pub struct RequestContextParts {
    /// The client class, sent to backends as `X-Client`.
    pub client: HeaderValue,
    /// The prefix of a problem's `type`, without a final slash.
    pub public_url: Arc<str>,
    /// The URI of the request.
    pub uri: Uri,
    /// Cancelled when shutdown begins, some time before open connections are closed.
    pub shutdown: CancellationToken,
    /// The request id, returned to the client and sent upstream.
    pub request_id: RequestId,
    /// The trace that this request continues or starts.
    pub trace: Trace,
    /// The deadline of the response.
    pub deadline: Deadline,
    /// The urgency: the client's, limited by the screen's.
    pub urgency: Urgency,
    /// The language, negotiated from those of the gateway.
    pub language: Language,
    /// The market: that of the signed-in caller, else that of the gateway.
    pub region: Region,
    /// The verified caller.
    pub caller: Option<Caller>,
}

impl RequestContext {
    /// A context from its parts.
    pub fn open(parts: RequestContextParts) -> Self {
        Self::build(parts, RequestRetryAllowance::default())
    }

    fn build(parts: RequestContextParts, retry_allowance: RequestRetryAllowance) -> Self {
        Self(Arc::new(Inner {
            client: parts.client,
            public_url: parts.public_url,
            uri: parts.uri,
            shutdown: parts.shutdown,
            request_id: parts.request_id,
            trace: parts.trace,
            deadline: parts.deadline,
            urgency: parts.urgency,
            language: parts.language,
            region: parts.region,
            caller: parts.caller,
            identity_was_read: AtomicBool::new(false),
            retry_allowance,
        }))
    }

    /// A context for background work of the gateway: without a caller, least urgent, with a deadline after `time`.
    pub fn background(client: &HeaderValue, env: &Env, time: Duration) -> Self {
        Self::open(RequestContextParts {
            client: client.clone(),
            public_url: Arc::from(""),
            uri: Uri::default(),
            shutdown: CancellationToken::new(),
            request_id: RequestId::generate(env),
            trace: Trace::begin(env),
            deadline: Deadline::Total(Instant::now() + time),
            urgency: Urgency::LOWEST,
            language: Language::UNDETERMINED,
            region: Region::NONE,
            caller: None,
        })
    }

    /// The client class, sent to backends as `X-Client`.
    pub fn client(&self) -> &HeaderValue {
        &self.0.client
    }

    /// The problem document of a failure of this request, as JSON.
    pub fn problem(&self, error: &Error) -> Vec<u8> {
        let instance = self.0.uri.path();
        error.problem(&self.0.public_url, instance, self.0.request_id.as_str())
    }

    /// The request id, returned to the client and sent upstream.
    pub fn request_id(&self) -> &RequestId {
        &self.0.request_id
    }

    /// The trace this request is part of.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// The deadline of the response; of a stream, the deadline of its head.
    pub fn deadline(&self) -> Instant {
        self.0.deadline.head()
    }

    /// The deadline of calls to backends: a little before the request's, so that the response can be sent in time.
    pub fn upstream_deadline(&self) -> Instant {
        self.0.deadline.calls()
    }

    /// The time until the deadline.
    pub fn time_left(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// The idle timeout of a stream, from its route; `None` if the whole response has a deadline.
    pub fn stream_idle_timeout(&self) -> Option<Duration> {
        match self.0.deadline {
            Deadline::Stream { idle, .. } => Some(idle),
            Deadline::Total(_) => None,
        }
    }

    /// Completes when shutdown begins. Open-ended streams then send their last event and end.
    pub fn shutdown(&self) -> WaitForCancellationFutureOwned {
        self.0.shutdown.clone().cancelled_owned()
    }

    /// The retries and hedges that all calls of this request may still make.
    pub fn retry_allowance(&self) -> &RequestRetryAllowance {
        &self.0.retry_allowance
    }

    /// How urgent the work is.
    pub fn urgency(&self) -> Urgency {
        self.0.urgency
    }

    /// The language of the response.
    pub fn language(&self) -> Language {
        self.0.language
    }

    /// The segment of this request, without any dependency yet. The caller of this function adds those of the response.
    pub fn segment(&self) -> Segment {
        Segment::of(self.0.language, self.0.region, self.0.caller.as_ref())
    }

    /// The caller, if signed in.
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.as_ref()
    }

    /// The caller, or 401. The response then depends on the identity, and shared caches must not store it.
    pub fn require_caller(&self) -> Result<&Caller, Error> {
        self.0.identity_was_read.store(true, Ordering::Relaxed);
        self.caller()
            .ok_or_else(|| Error::new(codes::UNAUTHENTICATED, "Sign in to see this."))
    }

    /// Whether the identity of the caller was read.
    pub fn identity_was_read(&self) -> bool {
        self.0.identity_was_read.load(Ordering::Relaxed)
    }

    /// The same request with a new deadline, for compensation after the old one. It takes over the whole remaining
    /// retry allowance.
    #[must_use]
    pub fn with_deadline(&self, time: Duration) -> Self {
        let Inner {
            client,
            public_url,
            uri,
            shutdown,
            request_id,
            trace,
            caller,
            ..
        } = &*self.0;
        let parts = RequestContextParts {
            client: client.clone(),
            public_url: public_url.clone(),
            uri: uri.clone(),
            shutdown: shutdown.clone(),
            request_id: request_id.clone(),
            trace: trace.clone(),
            deadline: Deadline::Total(Instant::now() + time),
            urgency: self.0.urgency,
            language: self.0.language,
            region: self.0.region,
            caller: caller.clone(),
        };
        Self::build(parts, self.0.retry_allowance.take_all())
    }
}

/// The first parameter of a handler. The edge has stored it in the request.
impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Error::new(codes::INTERNAL, "Internal error: request context missing."))
    }
}
