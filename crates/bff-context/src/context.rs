//! What one request is: an explicit first parameter, never a task-local.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum_core::extract::FromRequestParts;
use http::HeaderValue;
use http::request::Parts;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::error::{Error, codes};
use crate::scope::{Caller, Language, Region, Segment};

pub use app_version::AppVersion;
pub use bff_runtime::net::Env;
pub use cache_result::CacheResult;
pub use deadline::{Deadline, RequestTimeout};
pub use failure::{Failure, Reason};
pub use id::{Id, InvalidId, Short, deserialize_id, validate_id};
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

/// One request's context: who asks, until when, how urgently, and under which ids. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: HeaderValue,
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

/// The parts of a context, to make one.
#[derive(Debug)]
pub struct RequestContextParts {
    /// The client class, sent to backends as `X-Client`.
    pub client: HeaderValue,
    /// Cancelled when the gateway shuts down, some time before it cuts the remaining requests.
    pub shutdown: CancellationToken,
    /// Echoed to the client and sent upstream.
    pub request_id: RequestId,
    /// The trace this request continues or begins.
    pub trace: Trace,
    /// When the answer must be out.
    pub deadline: Deadline,
    /// How urgent, after the client's wish and the screen's bound.
    pub urgency: Urgency,
    /// The language negotiated from what the gateway has.
    pub language: Language,
    /// The market: the caller's own when signed in, else the gateway's.
    pub region: Region,
    /// Who asks, verified.
    pub caller: Option<Caller>,
}

impl RequestContext {
    /// Opens a context.
    pub fn open(o: RequestContextParts) -> Self {
        Self::with(o, RequestRetryAllowance::default())
    }

    fn with(o: RequestContextParts, extra: RequestRetryAllowance) -> Self {
        Self(Arc::new(Inner {
            client: o.client,
            shutdown: o.shutdown,
            request_id: o.request_id,
            trace: o.trace,
            deadline: o.deadline,
            urgency: o.urgency,
            language: o.language,
            region: o.region,
            caller: o.caller,
            identity_was_read: AtomicBool::new(false),
            retry_allowance: extra,
        }))
    }

    /// A context for the gateway's own work: nobody's, not urgent, done within `time`.
    pub fn background(client: &HeaderValue, env: &Env, time: Duration) -> Self {
        Self::open(RequestContextParts {
            client: client.clone(),
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

    /// The id echoed to the client and sent upstream.
    pub fn request_id(&self) -> &RequestId {
        &self.0.request_id
    }

    /// The trace this request is part of.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// When the answer (of a stream: its head) must be out.
    pub fn deadline(&self) -> Instant {
        self.0.deadline.head()
    }

    /// When calls to backends end: a small reserve before the deadline, so that the answer itself leaves in time.
    pub fn upstream_deadline(&self) -> Instant {
        self.0.deadline.calls()
    }

    /// What is left of the deadline.
    pub fn time_left(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// How long a stream may be silent, as its door says; none where the whole answer is out by the deadline.
    pub fn stream_idle_timeout(&self) -> Option<Duration> {
        match self.0.deadline {
            Deadline::Stream { idle, .. } => Some(idle),
            Deadline::Total(_) => None,
        }
    }

    /// Resolves when the gateway leaves: what would go on for as long as somebody listens says so then, and ends.
    pub fn shutdown(&self) -> WaitForCancellationFutureOwned {
        self.0.shutdown.clone().cancelled_owned()
    }

    /// What all calls of this request together may try beyond what is needed.
    pub fn retry_allowance(&self) -> &RequestRetryAllowance {
        &self.0.retry_allowance
    }

    /// How urgent the work is.
    pub fn urgency(&self) -> Urgency {
        self.0.urgency
    }

    /// The language the answer is in.
    pub fn language(&self) -> Language {
        self.0.language
    }

    /// What this request may share answers by: nothing yet; the caller adds what the answer depends on.
    pub fn segment(&self) -> Segment {
        Segment::of(self.0.language, self.0.region, self.0.caller.as_ref())
    }

    /// Who asks, when somebody is signed in.
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.as_ref()
    }

    /// Who asks, or 401. The answer is then for whoever was let in, and no cache that others read may keep it.
    pub fn require_caller(&self) -> Result<&Caller, Error> {
        self.0.identity_was_read.store(true, Ordering::Relaxed);
        self.caller()
            .ok_or_else(|| Error::new(codes::UNAUTHENTICATED, "Sign in to see this."))
    }

    /// Whether this was asked for who asks.
    pub fn identity_was_read(&self) -> bool {
        self.0.identity_was_read.load(Ordering::Relaxed)
    }

    /// The same request with a deadline of its own, for what must be done although its time is up: undoing. It has the
    /// extra attempts that are left, and nobody else has any more.
    #[must_use]
    pub fn with_deadline(&self, time: Duration) -> Self {
        let Inner {
            client,
            shutdown,
            request_id,
            trace,
            caller,
            ..
        } = &*self.0;
        let opening = RequestContextParts {
            client: client.clone(),
            shutdown: shutdown.clone(),
            request_id: request_id.clone(),
            trace: trace.clone(),
            deadline: Deadline::Total(Instant::now() + time),
            urgency: self.0.urgency,
            language: self.0.language,
            region: self.0.region,
            caller: caller.clone(),
        };
        Self::with(opening, self.0.retry_allowance.take_all())
    }
}

/// Handlers take `RequestContext` first; the edge has put it there.
impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Error::new(codes::INTERNAL, "The request came past the edge."))
    }
}
