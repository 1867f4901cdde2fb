//! Calls to a gRPC backend, under the policies of [`pipeline`](crate::policies::pipeline): unary calls
//! ([`Upstream::send`]) and bidirectional streams ([`open_stream`]). [`status`] maps gRPC statuses.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use prost::Message;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::Codec;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Extensions, Request, Status};
use tower::util::{MapRequest, MapResponse};

use crate::clients::trust_roots::TrustRoots;
use crate::config::Config;
use crate::decode::{self, Decoded};
use crate::endpoints::balance::Instance;
use crate::endpoints::discovery::InitialResolution;
use crate::endpoints::endpoint::Endpoint;
use crate::gateway_handles::GatewayHandles;
use crate::policies::policy::Policy;
use bff_cache::{Cache, FetchContext, FetchResult, FullResponse, ReadThrough};
use bff_context::context::{Failure, Fetched, Provenance, Reason, RequestContext, SharedDeadline};
use bff_context::scope::Scope;
use bff_runtime::net::Env;

pub use bidi_stream::{BidiStream, open_stream};
pub use call::Call;

use cooperative_body::CooperativeBody;
use marked_codec::MarkedCodec;

mod bidi_stream;
mod call;
mod cancel;
mod channel;
mod cooperative_body;
mod marked_codec;
mod response_head;
pub mod status;
#[cfg(test)]
mod tests;

/// A gRPC backend with its policies, and one connection to each instance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream {
    policy: Arc<Policy<Channel>>,
    cache: Cache,
}

impl Upstream {
    /// Creates the backend that configuration, metrics and provenance call `name`. It connects with the first call.
    ///
    /// A path in the URL is ignored, because gRPC has none. Must be called inside the tokio runtime.
    ///
    /// # Errors
    /// One line that names the invalid configuration key.
    pub fn new(
        name: &'static str,
        config: &Config,
        shared: &GatewayHandles,
    ) -> Result<Self, String> {
        let (net, channel_config) = (shared.env.net().clone(), config.clone());
        let trust_roots = TrustRoots::open(config.ca_file.as_deref());
        let trust_roots = trust_roots.map_err(|line| format!("upstreams.{name}.{line}"))?;
        let make_channel = move |endpoint: &Endpoint| {
            channel::channel(&channel_config, &net, &endpoint.address, &trust_roots)
        };
        Ok(Self {
            policy: Arc::new(Policy::new(name, config, shared, make_channel)?),
            cache: shared.cache.clone(),
        })
    }

    /// The backend's name in configuration and metrics.
    pub fn name(&self) -> &'static str {
        self.policy.name()
    }

    /// The first result of service discovery. Start-up waits for it.
    pub fn initial_discovery(&self) -> InitialResolution {
        self.policy.initial_discovery()
    }

    /// The reason why the backend is unhealthy, for operators.
    pub fn unhealthy_reason(&self) -> Option<Reason> {
        self.policy.unhealthy_reason()
    }
}

impl Upstream {
    /// Makes a unary call: the cache first, then every policy, outermost first.
    ///
    /// `convert` turns the response message into a value. It runs inside the attempt. A message that does not decode or
    /// convert is a failure of the call, and no sign of the backend's health.
    pub async fn send<C, T, S>(
        &self,
        cx: &RequestContext,
        call: Call<S, C::Encode>,
        codec: impl Fn() -> C + Send + Sync + 'static,
        convert: impl Fn(C::Decode) -> Result<T, &'static str> + Send + Sync + 'static,
    ) -> Result<Fetched<T, S>, Failure>
    where
        C: Codec + Send,
        C::Encode: Message + Clone + Sync,
        C::Decode: Message + Sync,
        T: Send + Sync + 'static,
        S: Scope,
    {
        let (cache, visibility) = (&self.cache, call.scope.visibility());
        if call.write {
            let deadline = SharedDeadline::new(cx.upstream_deadline());
            let result = Box::pin(call_upstream(
                cx,
                self,
                &call,
                (&codec, &convert),
                &deadline,
            ))
            .await;
            if result
                .as_ref()
                .err()
                .is_none_or(Failure::may_have_been_applied)
            {
                call.cache_invalidation()
                    .apply(self.name(), self.policy.env(), cache);
            }
            let response = result.map_err(|failure| failure.for_write(true))?;
            let provenance = Provenance {
                omitted: response.omitted,
                ..Provenance::fresh(self.name(), Duration::ZERO, visibility)
            };
            return Ok(bff_context::trusted::fetched(response.value, provenance));
        }
        let config = self.policy.config();
        let request = ReadThrough {
            read: bff_cache::ReadKey {
                key: cache.key::<T>(self.name(), Method::GET, call.target(), &call.scope),
                route: call.route,
                visibility,
            },
            policy: call
                .cache_policy
                .clone()
                .with_overrides(&config.cache, call.route),
            revalidation_timeout: config.revalidation_timeout(),
            // No decoder for the shared cache: `convert` is a closure of the call. Responses are cached in this process
            // only.
            decode: None,
        };
        let owned = self.clone();
        let fetch = |fetch: FetchContext| async move {
            let (cx, deadline) = (&fetch.cx, &fetch.deadline);
            let response = call_upstream(cx, &owned, &call, (&codec, &convert), deadline).await?;
            Ok(FetchResult::Full(response))
        };
        cache.get_or_fetch(cx, request, fetch).await
    }
}

/// Runs one call through every policy except the cache, and records it.
async fn call_upstream<C, T, S>(
    cx: &RequestContext,
    up: &Upstream,
    call: &Call<S, C::Encode>,
    (codec, convert): (
        &(impl Fn() -> C + Sync),
        &(impl Fn(C::Decode) -> Result<T, &'static str> + Sync),
    ),
    deadline: &SharedDeadline,
) -> Result<FullResponse<T>, Failure>
where
    C: Codec + Send,
    C::Encode: Clone + Sync,
    C::Decode: Message + Sync,
    T: Send,
    S: Scope,
{
    let started = Instant::now();
    let (config, env) = (up.policy.config(), up.policy.env());
    let attempt = |instance: Arc<Instance<Channel>>, timeout| async move {
        let sent_at = Instant::now();
        let channel = instance.payload().clone();
        let (message, head) = attempt((cx, env), config, channel, call, codec(), timeout).await?;
        let bytes = message.encoded_len();
        let Decoded { value, omitted } = decode::omitting(|| convert(message));
        let value = value.map_err(|error| status::undecodable().with_cause(error))?;
        Ok(FullResponse {
            value: Arc::new(value),
            omitted,
            status: StatusCode::OK,
            head,
            bytes,
            body: bytes::Bytes::new(),
            response_delay: Instant::now() - sent_at,
        })
    };
    let traits = call.retry_traits();
    let result = up.policy.call(cx, deadline, traits, attempt).await;
    up.policy.record_call(call.route, started, &result);
    if let Ok(response) = &result {
        up.policy.record_omitted(call.route, response.omitted);
    }
    result.map_err(|failure| failure.with_upstream(up.name()))
}

/// Sends the message once. The response metadata may contain HTTP's caching headers.
async fn attempt<C, S>(
    (cx, env): (&RequestContext, &Env),
    config: &Config,
    channel: Channel,
    call: &Call<S, C::Encode>,
    codec: C,
    timeout: Duration,
) -> Result<(C::Decode, HeaderMap), Failure>
where
    C: Codec + Send,
    C::Encode: Clone + Sync,
    C::Decode: Sync,
    S: Scope,
{
    let message = call.message.clone();
    let mut request = Request::from_parts(call.metadata(cx, env), Extensions::default(), message);
    request.set_timeout(timeout);
    let timeout_reason = timeout_reason(config, timeout);
    let to_failure = |status: Status| status::failure(&status, S::PERSONAL, timeout_reason);
    let mut client = connect(config, channel).await.map_err(to_failure)?;
    let path = PathAndQuery::from_static(call.route);
    let response = client.unary(request, path, MarkedCodec(codec)).await;
    let (metadata, message, _) = response.map_err(to_failure)?.into_parts();
    Ok((message, metadata.into_headers()))
}

/// The reason of a timeout: `Deadline` if the request's deadline shortened the attempt timeout.
fn timeout_reason(config: &Config, timeout: Duration) -> Reason {
    if timeout < config.attempt_timeout {
        Reason::Deadline
    } else {
        Reason::Timeout
    }
}

/// A channel whose requests can be cancelled.
type Cancellable = MapRequest<Channel, fn(http::Request<Body>) -> http::Request<Body>>;
/// A channel whose response bodies yield to other tasks.
type Cooperative =
    MapResponse<Cancellable, fn(http::Response<Body>) -> http::Response<CooperativeBody<Body>>>;

/// Waits until the channel is connected.
async fn connect(config: &Config, channel: Channel) -> Result<Grpc<Cooperative>, Status> {
    let cooperative: fn(http::Response<Body>) -> http::Response<CooperativeBody<Body>> =
        |response| response_head::prepare(response).map(CooperativeBody);
    let cancellable = MapRequest::new(channel, cancel::make_cancellable as fn(_) -> _);
    let channel = MapResponse::new(cancellable, cooperative);
    let mut client = Grpc::new(channel).max_decoding_message_size(config.max_body_bytes);
    let closed = |error: tonic::transport::Error| Status::from_error(error.into());
    client.ready().await.map_err(closed)?;
    Ok(client)
}
