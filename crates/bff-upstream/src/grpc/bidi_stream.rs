//! Bidirectional gRPC streams.
//!
//! A stream is opened like any other call: with bulkhead, circuit breaker, load balancing and retries. The attempt
//! timeout limits the wait for the response headers. After that an idle timeout limits the stream, instead of the
//! request's deadline. An open stream holds a stream slot of the bulkhead and counts as in flight at its instance.
//!
//! The circuit breaker counts only whether it was opened. The end of the stream is recorded in the metrics: an end
//! without a status, a reset and an idle timeout are failures. Dropping a stream cancels it at the backend.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt, stream};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;
use tonic::codec::Codec;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::call::CacheInvalidation;
use super::{Call, Upstream, cancel, connect, status, timeout_reason};
use crate::config::Config;
use crate::endpoints::balance::Instance;
use crate::policies::in_flight_guard::InFlightGuard;
use crate::policies::pipeline::catch_panic;
use crate::policies::retry::RetryTraits;
use bff_context::context::{Failure, Reason, RequestContext, SharedDeadline};
use bff_context::scope::Scope;
use bff_runtime::net::Env;

/// The number of messages that are buffered before [`BidiStream::send`] waits.
const SEND_BUFFER: usize = 1;

/// The received messages, converted to values.
type Received<T> = Pin<Box<dyn Stream<Item = Result<T, Failure>> + Send>>;

/// An open stream. Dropping it cancels it.
pub struct BidiStream<M, T> {
    cx: RequestContext,
    up: Upstream,
    route: &'static str,
    /// The cache entries that a write invalidates; `None` for a read.
    invalidation: Option<CacheInvalidation>,
    started: Instant,
    /// Cancels the stream. Declared before `sender`, so that it is dropped first. `None` after the end.
    cancel: Option<DropGuard>,
    sender: Option<mpsc::Sender<M>>,
    /// `None` after the end.
    received: Option<Received<T>>,
    _guard: InFlightGuard<Channel>,
}

/// Opens a stream and sends the call's message as the first one. `convert` turns each received message into a value.
///
/// The idle timeout is that of the client's request. If that is not a stream, its deadline limits the whole stream.
pub async fn open_stream<C, T, S>(
    cx: &RequestContext,
    up: &Upstream,
    call: Call<S, C::Encode>,
    codec: impl Fn() -> C,
    convert: fn(C::Decode) -> Result<T, &'static str>,
) -> Result<BidiStream<C::Encode, T>, Failure>
where
    C: Codec + Send,
    C::Encode: Message + Clone + Sync,
    C::Decode: Sync,
    T: Send + 'static,
    S: Scope,
{
    let started = Instant::now();
    let (config, env) = (up.policy.config(), up.policy.env());
    let (call, codec) = (&call, &codec);
    // A stream limited by a deadline counts as a call in the bulkhead.
    let streaming = cx.stream_idle_timeout().is_some();
    let traits = RetryTraits {
        streaming,
        ..call.retry_traits()
    };
    let attempt = |instance: Arc<Instance<Channel>>, timeout| async move {
        let channel = instance.payload().clone();
        let stream = open_once((cx, env), config, channel, call, codec(), convert, timeout).await?;
        let guard = InFlightGuard::acquire(&up.policy, instance, streaming);
        Ok((stream, guard))
    };
    let deadline = SharedDeadline::new(cx.upstream_deadline());
    let result = Box::pin(up.policy.call(cx, &deadline, traits, attempt)).await;
    up.policy.record_call(call.route, started, &result);
    let invalidation = call.write.then(|| call.cache_invalidation());
    let ((cancel, sender, received), guard) = result.map_err(|failure| {
        let failure = failure.with_upstream(up.name()).for_write(call.write);
        invalidate_cache(up, invalidation.as_ref(), Some(&failure));
        failure
    })?;
    Ok(BidiStream {
        cx: cx.clone(),
        up: up.clone(),
        route: call.route,
        invalidation,
        started,
        cancel: Some(cancel),
        sender: Some(sender),
        received: Some(received),
        _guard: guard,
    })
}

/// Makes one attempt to open the stream, until the response headers.
async fn open_once<C, T, S>(
    (cx, env): (&RequestContext, &Env),
    config: &Config,
    channel: Channel,
    call: &Call<S, C::Encode>,
    codec: C,
    convert: fn(C::Decode) -> Result<T, &'static str>,
    timeout: Duration,
) -> Result<(DropGuard, mpsc::Sender<C::Encode>, Received<T>), Failure>
where
    C: Codec + Send,
    C::Encode: Clone + Sync,
    C::Decode: Sync,
    T: Send + 'static,
    S: Scope,
{
    let (sender, receiver) = mpsc::channel(SEND_BUFFER);
    let first = stream::iter([call.message.clone()]);
    let rest = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|message| (message, receiver))
    });
    // No `grpc-timeout`: it would limit the whole stream, but the attempt timeout is for the response headers only.
    let messages = first.chain(rest);
    let (cancel, extensions) = cancel::cancel_guard();
    let request = Request::from_parts(call.metadata(cx, env), extensions, messages);
    let timeout_reason = timeout_reason(config, timeout);
    let to_failure = |status: Status| status::failure(&status, S::PERSONAL, timeout_reason);
    let mut client = connect(config, channel).await.map_err(to_failure)?;
    let path = PathAndQuery::from_static(call.route);
    let response = client.streaming(request, path, codec).await;
    let incoming = response.map_err(to_failure)?.into_inner();
    let incoming = incoming.map(move |result| match result {
        Ok(message) => {
            convert(message).map_err(|error| Failure::new(Reason::BadResponse).with_cause(error))
        }
        Err(status) => Err(status::failure(&status, S::PERSONAL, Reason::Timeout)),
    });
    Ok((cancel, sender, Box::pin(incoming)))
}

impl<M, T> BidiStream<M, T> {
    /// Sends a message. Waits while the send buffer is full, up to the idle timeout.
    ///
    /// Returns false if the stream has ended or the wait timed out. [`recv`](Self::recv) then returns the reason.
    pub async fn send(&mut self, message: M) -> bool {
        let Some(sender) = &self.sender else {
            return false;
        };
        let sent = timeout(wait_limit(&self.cx).0, sender.send(message)).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Closes the sending half. The backend may still send messages.
    pub fn close(&mut self) {
        self.sender = None;
    }

    /// Receives the next message. `None` after the backend has ended the stream with `OK`.
    ///
    /// A failure ends the stream.
    pub async fn recv(&mut self) -> Option<Result<T, Failure>> {
        let received = self.received.as_mut()?;
        let (limit, reason) = wait_limit(&self.cx);
        let next = catch_panic(self.up.name(), received.next().map(Option::transpose));
        let failure = match timeout(limit, next).await.map(Result::transpose) {
            Ok(Some(Ok(message))) => {
                invalidate_cache(&self.up, self.invalidation.as_ref(), None);
                return Some(Ok(message));
            }
            Ok(Some(Err(failure))) => Some(failure),
            Ok(None) => {
                self.cancel.take().map(DropGuard::disarm);
                None
            }
            Err(_) => Some(Failure::new(reason).with_cause("idle timeout of the stream")),
        };
        // Cancel at once, because the owner may hold the stream for longer.
        self.cancel = None;
        (self.sender, self.received) = (None, None);
        let failure = failure?
            .with_upstream(self.up.name())
            .for_write(self.invalidation.is_some());
        invalidate_cache(&self.up, self.invalidation.as_ref(), Some(&failure));
        let result = Err::<(), _>(failure.clone());
        self.up
            .policy
            .record_call(self.route, self.started, &result);
        Some(Err(failure))
    }
}

impl<M: Send, T: Send> BidiStream<M, T> {
    /// Closes the sending half and receives exactly one message and the end of the stream.
    ///
    /// # Errors
    /// The stream's failure, or [`Reason::BadResponse`] for no message or more than one.
    pub async fn recv_only(mut self) -> Result<T, Failure> {
        self.close();
        let first = self.recv().await.transpose()?;
        let second = self.recv().await.transpose()?;
        match (first, second) {
            (Some(message), None) => Ok(message),
            (None, _) => Err(self.bad_response("the stream ended without a message")),
            (_, Some(_)) => Err(self.bad_response("the stream has more than one message")),
        }
    }

    fn bad_response(&self, cause: &'static str) -> Failure {
        let failure = Failure::new(Reason::BadResponse).with_cause(cause);
        failure
            .with_upstream(self.up.name())
            .for_write(self.invalidation.is_some())
    }
}

/// Invalidates the cache after a write that was or may have been applied.
fn invalidate_cache(
    up: &Upstream,
    invalidation: Option<&CacheInvalidation>,
    failure: Option<&Failure>,
) {
    if let Some(invalidation) = invalidation
        && failure.is_none_or(Failure::may_have_been_applied)
    {
        invalidation.apply(up.name(), up.policy.env(), &up.cache);
    }
}

/// The maximum time to wait for the backend, and the reason of the failure after it.
fn wait_limit(cx: &RequestContext) -> (Duration, Reason) {
    if let Some(idle_timeout) = cx.stream_idle_timeout() {
        return (idle_timeout, Reason::Timeout);
    }
    let deadline = cx.upstream_deadline();
    let time_left = deadline.saturating_duration_since(Instant::now());
    (time_left, Reason::Deadline)
}

impl<M, T> fmt::Debug for BidiStream<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream with {}{}", self.up.name(), self.route)
    }
}
