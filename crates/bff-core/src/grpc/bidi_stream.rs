//! Many messages each way, for as long as both sides like.
//!
//! It is opened as any call is: with a place in the bulkhead, past the breaker, at an instance that the balancer
//! chooses, its head within an attempt's time, and tried again where that is sane. From then on the request's deadline
//! does not bound it; silence does. While it lasts it holds a place among the streams, and its instance knows that it is
//! busy.
//!
//! The breaker judges how it opens. How it ends is told to whoever listens, and counted: an end without a status, a
//! reset and a silence are failures and say so. Dropping it hangs up, which the backend learns at once.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;
use tonic::codec::Codec;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::call::CacheInvalidation;
use super::{Call, Upstream, cancel, late, ready, status};
use crate::context::RequestContext;
use crate::net;
use crate::outbound::balance::Instance;
use crate::outbound::{
    Config, Failure, InFlightGuard, Reason, RetryTraits, SharedDeadline, record_call,
};
use crate::scope::Scope;

/// Messages said and not yet sent: whoever says more waits.
const SEND_BUFFER: usize = 1;

/// What comes back, already made ours.
type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Failure>> + Send>>;

/// A conversation under way. Dropping it hangs up.
pub struct BidiStream<M, T> {
    cx: RequestContext,
    upstream: &'static str,
    route: &'static str,
    /// What it outdates, of a write.
    outdates: Option<CacheInvalidation>,
    began: Instant,
    /// Before what is said is dropped. None once it is over.
    hang_up: Option<DropGuard>,
    say: Option<mpsc::Sender<M>>,
    /// None once it is over.
    replies: Option<Replies<T>>,
    _stay: InFlightGuard<Channel>,
}

/// Opens a conversation with the call's message. `wire` makes each reply a value of ours.
///
/// The longest silence is the door's own. On a door that is no stream the request's time bounds it as a whole.
pub async fn open_stream<C, T, S>(
    cx: &RequestContext,
    up: &Upstream,
    call: Call<S, C::Encode>,
    codec: impl Fn() -> C,
    wire: fn(C::Decode) -> Result<T, &'static str>,
) -> Result<BidiStream<C::Encode, T>, Failure>
where
    C: Codec + Send,
    C::Encode: Message + Clone + Sync,
    C::Decode: Sync,
    T: Send + 'static,
    S: Scope,
{
    let began = net::now();
    let (config, call, codec) = (up.0.config(), &call, &codec);
    // What a deadline bounds as a whole is a call like any other.
    let lasting = cx.stream_idle_timeout().is_some();
    let repeat = RetryTraits {
        streaming: lasting,
        ..call.repeat()
    };
    let attempt = |instance: Arc<Instance<Channel>>, time| async move {
        let channel = instance.payload().clone();
        let opened = open(cx, config, channel, call, codec(), wire, time).await?;
        Ok((opened, InFlightGuard::acquire(&up.0, instance, lasting)))
    };
    let until = SharedDeadline::new(cx.upstream_deadline());
    let opened = Box::pin(up.0.call(cx, &until, repeat, attempt)).await;
    record_call(cx, up.name(), call.route, began, &opened);
    let outdates = call.write.then(|| call.outdates());
    let ((hang_up, say, replies), place) = opened.map_err(|failure| {
        let failure = failure.with_upstream(up.name()).for_write(call.write);
        invalidate_cache(cx, up.name(), outdates.as_ref(), Some(&failure));
        failure
    })?;
    Ok(BidiStream {
        cx: cx.clone(),
        upstream: up.name(),
        route: call.route,
        outdates,
        began,
        hang_up: Some(hang_up),
        say: Some(say),
        replies: Some(replies),
        _stay: place,
    })
}

/// Opens it once: until its head is here.
async fn open<C, T, S>(
    cx: &RequestContext,
    config: &Config,
    channel: Channel,
    call: &Call<S, C::Encode>,
    codec: C,
    wire: fn(C::Decode) -> Result<T, &'static str>,
    time: Duration,
) -> Result<(DropGuard, mpsc::Sender<C::Encode>, Replies<T>), Failure>
where
    C: Codec + Send,
    C::Encode: Clone + Sync,
    C::Decode: Sync,
    T: Send + 'static,
    S: Scope,
{
    let (say, said) = mpsc::channel(SEND_BUFFER);
    let first = stream::iter([call.message.clone()]);
    let rest = stream::unfold(said, |mut said| async {
        said.recv().await.map(|message| (message, said))
    });
    // No timeout goes along: the backend would end the whole conversation by it, and only its head is bounded.
    let messages = first.chain(rest);
    let (hang_up, extensions) = cancel::line();
    let request = Request::from_parts(call.metadata(cx), extensions, messages);
    let failed = |status: Status| status::failure(&status, S::PERSONAL, late(config, time));
    let mut client = ready(config, channel).await.map_err(failed)?;
    let path = PathAndQuery::from_static(call.route);
    let answer = client.streaming(request, path, codec).await;
    let replies = answer.map_err(failed)?.into_inner();
    let replies = replies.map(move |reply| match reply {
        Ok(message) => {
            wire(message).map_err(|why| Failure::new(Reason::BadResponse).with_cause(why))
        }
        Err(status) => Err(status::failure(&status, S::PERSONAL, Reason::Timeout)),
    });
    Ok((hang_up, say, Box::pin(replies)))
}

impl<M, T> BidiStream<M, T> {
    /// Says one more thing, waiting while the backend takes none. False: nobody listens any more, and
    /// [`hear`](Self::hear) knows why.
    pub async fn send(&mut self, message: M) -> bool {
        let Some(say) = &self.say else { return false };
        let said = timeout(wait_limit(&self.cx).0, say.send(message)).await;
        matches!(said, Ok(Ok(())))
    }

    /// Says no more. The backend may still answer.
    pub fn close(&mut self) {
        self.say = None;
    }

    /// The next reply; none once the backend has ended it well. A failure is the last thing heard.
    pub async fn recv(&mut self) -> Option<Result<T, Failure>> {
        let replies = self.replies.as_mut()?;
        let (patience, late) = wait_limit(&self.cx);
        let heard = match timeout(patience, replies.next()).await {
            Ok(Some(Ok(reply))) => {
                invalidate_cache(&self.cx, self.upstream, self.outdates.as_ref(), None);
                return Some(Ok(reply));
            }
            Ok(Some(Err(failure))) => Some(failure),
            Ok(None) => {
                self.hang_up.take().map(DropGuard::disarm);
                None
            }
            Err(_) => Some(Failure::new(late).with_cause("it fell silent")),
        };
        // Hung up now, and not only when whoever holds this is done with it.
        self.hang_up = None;
        (self.say, self.replies) = (None, None);
        let failure = heard?
            .with_upstream(self.upstream)
            .for_write(self.outdates.is_some());
        invalidate_cache(
            &self.cx,
            self.upstream,
            self.outdates.as_ref(),
            Some(&failure),
        );
        let ended = Err::<(), _>(failure.clone());
        record_call(&self.cx, self.upstream, self.route, self.began, &ended);
        Some(Err(failure))
    }
}

impl<M: Send, T: Send> BidiStream<M, T> {
    /// The one reply to what was said when it was opened, once the backend has ended the conversation well.
    pub async fn recv_only(mut self) -> Result<T, Failure> {
        self.close();
        let reply = self.recv().await.transpose()?;
        let more = self.recv().await.transpose()?;
        match (reply, more) {
            (Some(reply), None) => Ok(reply),
            (None, _) => Err(self.odd("it ended without a reply")),
            (_, Some(_)) => Err(self.odd("it replied more than once")),
        }
    }

    fn odd(&self, why: &'static str) -> Failure {
        let failure = Failure::new(Reason::BadResponse).with_cause(why);
        failure
            .with_upstream(self.upstream)
            .for_write(self.outdates.is_some())
    }
}

/// A write that was, or may have been, done outdates what was read before.
fn invalidate_cache(
    cx: &RequestContext,
    upstream: &'static str,
    outdates: Option<&CacheInvalidation>,
    failure: Option<&Failure>,
) {
    if let Some(outdates) = outdates
        && failure.is_none_or(Failure::may_have_been_applied)
    {
        outdates.tell(cx, upstream);
    }
}

/// How long the other side is waited for, and why no longer.
fn wait_limit(cx: &RequestContext) -> (Duration, Reason) {
    if let Some(idle) = cx.stream_idle_timeout() {
        return (idle, Reason::Timeout);
    }
    let until = cx.upstream_deadline();
    let left = until.saturating_duration_since(net::now());
    (left, Reason::Deadline)
}

impl<M, T> fmt::Debug for BidiStream<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conversation with {}{}", self.upstream, self.route)
    }
}
