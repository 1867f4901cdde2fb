//! Calls to a gRPC backend, under the rules of [`outbound`](crate::outbound): one message and its answer ([`send`]), or
//! a conversation of many ([`converse`]). What a status means stands in [`status`].

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use prost::Message;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::Codec;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Extensions, Request, Status};
use tower::util::{MapRequest, MapResponse};

use crate::cache::{self, FetchContext, FetchResult, FullResponse, ReadThrough};
use crate::context::{GatewayHandles, RequestContext};
use crate::discovery::InitialResolution;
use crate::net;
use crate::outbound::balance::{self, Instance};
use crate::outbound::{
    Config, Failure, Fetched, Policy, Provenance, Reason, SharedDeadline, TrustRoots, record_call,
};
use crate::scope::Scope;

pub use bidi_stream::{BidiStream, open_stream};
pub use call::Call;

use cooperative_body::CooperativeBody;

mod bidi_stream;
mod call;
mod cancel;
mod channel;
mod cooperative_body;
pub mod status;
#[cfg(test)]
mod tests;

/// One gRPC backend as a gateway sees it: one connection to each instance for all calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Policy<Channel>>);

impl Upstream {
    /// A backend called `name` in configuration, metrics and provenance. It connects with the first call.
    ///
    /// A path in the address is not used: gRPC has none. Must be called inside the runtime.
    pub fn new(
        name: &'static str,
        config: &Config,
        shared: &GatewayHandles,
    ) -> Result<Self, String> {
        let (net, of) = (shared.env.net().clone(), config.clone());
        let trust = TrustRoots::open(config.ca_file.as_deref());
        let trust = trust.map_err(|line| format!("upstreams.{name}.{line}"))?;
        let channel =
            move |at: &balance::Endpoint| channel::channel(&of, &net, &at.address, &trust);
        Ok(Self(Arc::new(Policy::new(name, config, shared, channel)?)))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The first answer about its instances, which start-up waits for.
    pub(crate) fn initial_discovery(&self) -> InitialResolution {
        self.0.initial_discovery()
    }

    /// What is wrong with it at the moment, for operators.
    pub(crate) fn unhealthy_reason(&self) -> Option<Reason> {
        self.0.unhealthy_reason()
    }
}

/// Calls a gRPC backend under every policy, outermost first. `wire` makes the answer a value of ours, here,
/// so that every policy sees an answer that cannot be used as a failure.
pub async fn send<C, T, S>(
    cx: &RequestContext,
    up: &Upstream,
    call: Call<S, C::Encode>,
    codec: impl Fn() -> C + Send + Sync + 'static,
    wire: impl Fn(C::Decode) -> Result<T, &'static str> + Send + Sync + 'static,
) -> Result<Fetched<T, S>, Failure>
where
    C: Codec + Send,
    C::Encode: Message + Clone + Sync,
    C::Decode: Message + Sync,
    T: Send + Sync + 'static,
    S: Scope,
{
    let (cache, sharing) = (&cx.shared().cache, call.scope.sharing());
    if call.write {
        let until = SharedDeadline::new(cx.upstream_deadline());
        let done = Box::pin(one(cx, up, &call, (&codec, &wire), &until)).await;
        if done
            .as_ref()
            .err()
            .is_none_or(Failure::may_have_been_applied)
        {
            call.outdates().tell(cx, up.name());
        }
        let whole = done.map_err(|failure| failure.for_write(true))?;
        let from = Provenance::fresh(up.name(), Duration::ZERO, sharing);
        return Ok(Fetched::new(whole.value, from));
    }
    let config = up.0.config();
    let ask = ReadThrough {
        read: cache::ReadKey {
            key: cache.key::<T>(up.name(), Method::GET, call.target(), &call.scope),
            route: call.route,
            sharing,
        },
        keep: call.keep.clone().with_overrides(&config.cache, call.route),
        renew_within: config.revalidation_timeout(),
        // A message is made into a value by a closure of the call's: its answers stay in this process.
        recall: None,
    };
    let up = up.clone();
    cache::get_or_fetch(cx, ask, |fetch: FetchContext| async move {
        let (cx, until) = (&fetch.cx, &fetch.until);
        let whole = one(cx, &up, &call, (&codec, &wire), until).await?;
        Ok(FetchResult::Full(whole))
    })
    .await
}

/// One call: every policy but the cache's.
async fn one<C, T, S>(
    cx: &RequestContext,
    up: &Upstream,
    call: &Call<S, C::Encode>,
    (codec, wire): (
        &(impl Fn() -> C + Sync),
        &(impl Fn(C::Decode) -> Result<T, &'static str> + Sync),
    ),
    until: &SharedDeadline,
) -> Result<FullResponse<T>, Failure>
where
    C: Codec + Send,
    C::Encode: Clone + Sync,
    C::Decode: Message + Sync,
    T: Send,
    S: Scope,
{
    let started = net::now();
    let config = up.0.config();
    let attempt = |instance: Arc<Instance<Channel>>, time| async move {
        let asked = net::now();
        let channel = instance.payload().clone();
        let (message, head) = attempt(cx, config, channel, call, codec(), time).await?;
        let bytes = message.encoded_len();
        let value =
            wire(message).map_err(|why| Failure::new(Reason::BadResponse).with_cause(why))?;
        Ok(FullResponse {
            value: Arc::new(value),
            status: StatusCode::OK,
            head,
            bytes,
            body: bytes::Bytes::new(),
            took: net::now() - asked,
        })
    };
    let done = up.0.call(cx, until, call.repeat(), attempt).await;
    record_call(cx, up.name(), call.route, started, &done);
    done.map_err(|failure| failure.with_upstream(up.name()))
}

/// Sends the message once; the answer's headers say how long it may be kept, in the words that HTTP has for it.
async fn attempt<C, S>(
    cx: &RequestContext,
    config: &Config,
    channel: Channel,
    call: &Call<S, C::Encode>,
    codec: C,
    time: Duration,
) -> Result<(C::Decode, HeaderMap), Failure>
where
    C: Codec + Send,
    C::Encode: Clone + Sync,
    C::Decode: Sync,
    S: Scope,
{
    let message = call.message.clone();
    let mut request = Request::from_parts(call.metadata(cx), Extensions::default(), message);
    request.set_timeout(time);
    let failed = |status: Status| status::failure(&status, S::PERSONAL, late(config, time));
    let mut client = ready(config, channel).await.map_err(failed)?;
    let path = PathAndQuery::from_static(call.route);
    let answer = client.unary(request, path, codec).await.map_err(failed)?;
    let (metadata, message, _) = answer.into_parts();
    Ok((message, metadata.into_headers()))
}

/// Why an attempt that was given `time` did not come to an end within it.
fn late(config: &Config, time: Duration) -> Reason {
    if time < config.attempt_timeout {
        Reason::Deadline
    } else {
        Reason::Timeout
    }
}

/// A channel that can be hung up on.
type Wired = MapRequest<Channel, fn(http::Request<Body>) -> http::Request<Body>>;
/// One whose answers take turns with what else runs on their thread.
type Cooperative =
    MapResponse<Wired, fn(http::Response<Body>) -> http::Response<CooperativeBody<Body>>>;

/// The channel, connected.
async fn ready(config: &Config, channel: Channel) -> Result<Grpc<Cooperative>, Status> {
    let in_turns: fn(http::Response<Body>) -> http::Response<CooperativeBody<Body>> =
        |it| it.map(CooperativeBody);
    let wired = MapRequest::new(channel, cancel::wire as fn(_) -> _);
    let channel = MapResponse::new(wired, in_turns);
    let mut client = Grpc::new(channel).max_decoding_message_size(config.max_body_bytes);
    let closed = |error: tonic::transport::Error| Status::from_error(error.into());
    client.ready().await.map_err(closed)?;
    Ok(client)
}
