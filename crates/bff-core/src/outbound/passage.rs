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

use super::lent::{Gate, Load};
use super::stream::{Clients, Stay};
use super::{Failure, Instance, Reason, Repeat, Until, Upstream, attempt, retry, told};
use crate::context::Cx;
use crate::error::Error;
use crate::net;

/// What all of these are called in the metrics of a backend; the edge's own tell the routes apart.
const ROUTE: &str = "pass-through";

/// One request to be passed on.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    pub(crate) method: Method,
    /// Path and query at the backend, encoded.
    pub(crate) target: String,
    /// What goes along of what the client sent, identity included.
    pub(crate) headers: HeaderMap,
    pub(crate) load: Load,
    /// Whether it may be sent again, and so whether doing it twice is doing it once.
    pub(crate) repeat: Again,
    /// How long an attempt may take, if the backend's own `attempt_timeout` does not hold.
    pub(crate) within: Option<Duration>,
    /// Whether the client waits for `100 Continue`.
    pub(crate) expects: bool,
    /// What only HTTP/1.1 can say: an upgrade, a `Host` of another name.
    pub(crate) plain_1: bool,
    /// Whether 101 is an answer.
    pub(crate) upgrade: bool,
    /// What was wrong with the client's own body, once that is known.
    pub(crate) spoilt: Spoilt,
}

/// Whether a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// The route says no.
    Never,
    /// Only when it never left.
    Unsent,
    /// Doing it twice is doing it once.
    Harmless,
}

/// Why the client's own body ended a call, told by the body; the backend is not to blame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spoilt(Arc<OnceLock<Error>>);

impl Spoilt {
    /// The first to tell is right.
    pub(crate) fn by(&self, error: Error) {
        let _ = self.0.set(error);
    }

    /// Whatever failed, failed because of it.
    fn blamed(&self, failure: Failure) -> Failure {
        match self.0.get() {
            // A 4xx of ours is held against nobody and never tried again.
            Some(error) => Failure::from(error.clone()).answer(error.status(), Bytes::new()),
            None => failure,
        }
    }
}

/// An answer whose body is still at the backend, and the place it holds there.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) stay: Stay<Clients>,
}

/// Passes a request on, under every policy but the hedge.
pub(crate) async fn pass(cx: &Cx, up: &Upstream, passage: &Passage) -> Result<Answer, Failure> {
    let started = net::now();
    // The latest answer that counted as a failure; a second attempt forgets it.
    let refused = Mutex::new(None);
    let attempt = |instance: Arc<Instance<Clients>>, time| {
        let refused = &refused;
        async move {
            refused.lock().take();
            let answer = once(cx, up, instance, passage, time).await;
            let answer = answer.map_err(|failure| passage.spoilt.blamed(failure))?;
            match mishap(&answer.response) {
                None => Ok(answer),
                Some(failure) => {
                    refused.lock().replace(answer);
                    Err(failure)
                }
            }
        }
    };
    let until = Until::new(cx.calls_deadline());
    let done = Box::pin(up.0.call(cx, &until, passage.repeat(), attempt)).await;
    told(cx, up.name(), ROUTE, started, &done);
    match (done, refused.into_inner()) {
        (Ok(answer), _) | (Err(_), Some(answer)) => Ok(answer),
        (Err(failure), None) => Err(failure.of(up.name()).after(!passage.method.is_safe())),
    }
}

impl Passage {
    fn repeat(&self) -> Repeat {
        let never: fn(&Failure, bool) -> bool = |_, _| false;
        Repeat {
            harmless: self.repeat == Again::Harmless,
            hedged: false,
            within: self.within,
            lasting: true,
            worth: if self.repeat == Again::Never {
                never
            } else {
                retry::is_worth_it
            },
        }
    }
}

/// One attempt, up to the head of its answer.
async fn once(
    cx: &Cx,
    up: &Upstream,
    instance: Arc<Instance<Clients>>,
    passage: &Passage,
    time: Duration,
) -> Result<Answer, Failure> {
    let target = up.0.config().url.origin_form(passage.target.clone());
    let target = target.map_err(|error| Failure::internal(error).unsent())?;
    let gate = passage.expects.then(Arc::<Gate>::default);
    let mut request = Request::new(passage.load.lend(gate.clone()));
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
        return Err(Failure::new(Reason::BadResponse).because(why));
    }
    let stay = Stay::at(&up.0, instance, true);
    Ok(Answer { response, stay })
}

/// What an answer says about the backend, if it says anything bad.
fn mishap(response: &Response<Incoming>) -> Option<Failure> {
    let status = response.status();
    let reason = match status.as_u16() {
        429 => Reason::Overloaded,
        503 => Reason::Unavailable,
        500.. => Reason::BadResponse,
        _ => return None,
    };
    let failure = Failure::new(reason).answer(status, Bytes::new());
    Some(failure.retry_after(attempt::retry_after(response.headers())))
}
