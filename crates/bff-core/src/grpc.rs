//! One unary call to a gRPC backend, under the rules of [`outbound`](crate::outbound).
//!
//! What a backend's status becomes, and what the failure counts as having been answered with:
//!
//! | status | reason | answered |
//! |---|---|---|
//! | `NOT_FOUND` | `not_found` | 404 |
//! | `PERMISSION_DENIED` on a call of a caller | `forbidden` | 403 |
//! | `RESOURCE_EXHAUSTED` | `overloaded` | 429 |
//! | `UNAVAILABLE` | `unavailable` | 503 |
//! | `DEADLINE_EXCEEDED` | `timeout`, or `deadline` when it was the whole request's | |
//! | `INVALID_ARGUMENT` | `bad_response` | 422 |
//! | `ALREADY_EXISTS`, `FAILED_PRECONDITION`, `ABORTED` | `bad_response` | 409 |
//! | `UNAUTHENTICATED`, `PERMISSION_DENIED` on any other call | `bad_response` | 401, 403 |
//! | any other; a message too large or undecodable; no status at the end | `bad_response` | |
//! | none: refused, reset, a handshake that failed | `unavailable` | |

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use prost::Message;
use tokio::time::{Instant, timeout};
use tonic::client::Grpc;
use tonic::codec::Codec;
use tonic::codegen::http::uri::{Authority, PathAndQuery};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Extensions, Request, Status, TimeoutExpired};
use tower::{BoxError, Service as _};

use crate::cache::{self, Ask, Fetch, Got, Whole};
use crate::context::request_id::X_REQUEST_ID;
use crate::context::urgency::PRIORITY;
use crate::context::{Cx, Shared};
use crate::net::{Dial, Net};
use crate::outbound::balance::{self, Instance};
use crate::outbound::{
    Config, Failure, Fetched, Policy, Provenance, Reason, Repeat, Until, retry, told,
};
use crate::scope::{Scope, X_CLIENT};

pub use call::Unary;

mod call;

/// After how long a silence a call in flight asks whether the connection still stands: a lost peer would
/// otherwise cost every call its whole timeout until TCP gives up. While none is in flight nobody asks, which many a
/// server takes for abuse: the first call after such a silence asks at once, and is all that a dead connection costs.
const PING_AFTER: Duration = Duration::from_secs(5);

/// When to try again (gRFC A6), in milliseconds.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// One gRPC backend as a gateway sees it: one connection for all calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Policy<Channel>>);

impl Upstream {
    /// A backend called `name` in configuration, metrics and provenance. It connects with the first call.
    ///
    /// A path in the address is not used: gRPC has none. Must be called inside the runtime.
    pub fn new(name: &'static str, config: &Config, shared: &Shared) -> Result<Self, String> {
        let (net, of) = (shared.world.net().clone(), config.clone());
        let channel = move |at: &balance::Endpoint| channel(&of, &net, &at.address);
        Ok(Self(Arc::new(Policy::new(name, config, shared, channel)?)))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }
}

/// The connector is ours, TLS included, so that a simulation's pipes carry gRPC too.
fn channel(config: &Config, net: &Net, address: &Authority) -> Channel {
    let limit = config.connect_timeout;
    let tls = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http2()
        .wrap_connector(Dial::new(net.clone(), limit).to(address.clone()));
    let connector = tower::service_fn(move |uri: Uri| {
        let connecting = tls.clone().call(uri);
        async move {
            // Of the handshake too: tonic waits for one connection at a time, and for ever.
            let done = timeout(limit, connecting).await;
            done.unwrap_or_else(|_| Err(BoxError::from(io::Error::from(io::ErrorKind::TimedOut))))
        }
    });
    // An address was parsed once already; if it did not join, every call would say so.
    let uri = (config.url.absolute(PathAndQuery::from_static("/"))).unwrap_or_default();
    Endpoint::from(uri)
        .http2_keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(config.attempt_timeout)
        .connect_with_connector_lazy(connector)
}

/// Calls a gRPC backend under every policy, outermost first. `wire` makes the answer a value of ours, here,
/// so that every policy sees an answer that cannot be used as a failure.
pub async fn send<C, T, S>(
    cx: &Cx,
    up: &Upstream,
    call: Unary<S, C::Encode>,
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
        let until = Until::new(cx.calls_deadline());
        let done = Box::pin(one(cx, up, &call, (&codec, &wire), &until)).await;
        if done.as_ref().err().is_none_or(Failure::is_uncertain) {
            let (target, audience) = (call.target(), call.scope.audience());
            let now = cx.world().unix_millis();
            cache.written((up.name(), &target), &audience, &call.keep, now);
        }
        let whole = done.map_err(|failure| failure.after(true))?;
        let from = Provenance::fresh(up.name(), Duration::ZERO, sharing);
        return Ok(Fetched::new(Arc::new(whole.value), from));
    }
    let config = up.0.config();
    let ask = Ask {
        read: cache::Read {
            key: cache.key::<T>(up.name(), Method::GET, call.target(), &call.scope),
            route: call.route,
            sharing,
        },
        keep: call.keep.clone().under(&config.cache, call.route),
        renew_within: config.renew_within(),
    };
    let up = up.clone();
    cache::answer(cx, ask, |fetch: Fetch| async move {
        let (cx, until) = (&fetch.cx, &fetch.until);
        let whole = one(cx, &up, &call, (&codec, &wire), until).await?;
        Ok(Got::Whole(whole))
    })
    .await
}

/// One call: every policy but the cache's.
async fn one<C, T, S>(
    cx: &Cx,
    up: &Upstream,
    call: &Unary<S, C::Encode>,
    (codec, wire): (
        &(impl Fn() -> C + Sync),
        &(impl Fn(C::Decode) -> Result<T, &'static str> + Sync),
    ),
    until: &Until,
) -> Result<Whole<T>, Failure>
where
    C: Codec + Send,
    C::Encode: Clone + Sync,
    C::Decode: Message + Sync,
    T: Send,
    S: Scope,
{
    let started = Instant::now();
    let config = up.0.config();
    let attempt = |instance: Arc<Instance<Channel>>, time| async move {
        let asked = Instant::now();
        let channel = instance.payload().clone();
        let (message, head) = attempt(cx, config, channel, call, codec(), time).await?;
        let bytes = message.encoded_len();
        let value = wire(message).map_err(|why| Failure::new(Reason::BadResponse).because(why))?;
        Ok(Whole {
            value,
            status: StatusCode::OK,
            head,
            bytes,
            took: asked.elapsed(),
        })
    };
    // Reads only: a write is known by its key to HTTP backends alone.
    let repeat = Repeat {
        harmless: !call.write,
        hedged: false,
        within: None,
        worth: retry::is_worth_it_over_grpc,
    };
    let done = up.0.call(cx, until, repeat, attempt).await;
    told(cx, up.name(), call.route, started, &done);
    done.map_err(|failure| failure.of(up.name()))
}

/// Sends the message once; the answer's headers say how long it may be kept, in the words that HTTP has for it.
async fn attempt<C, S>(
    cx: &Cx,
    config: &Config,
    channel: Channel,
    call: &Unary<S, C::Encode>,
    codec: C,
    time: Duration,
) -> Result<(C::Decode, HeaderMap), Failure>
where
    C: Codec + Send,
    C::Encode: Clone + Sync,
    C::Decode: Sync,
    S: Scope,
{
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(X_REQUEST_ID, cx.request_id().header());
    headers.insert(PRIORITY, cx.urgency().header());
    headers.insert(X_CLIENT, cx.shared().client.clone());
    cx.trace().propagate(&mut headers, cx.world());
    call.scope.identify(&mut headers);
    let metadata = MetadataMap::from_headers(headers);
    let mut request = Request::from_parts(metadata, Extensions::default(), call.message.clone());
    request.set_timeout(time);
    let late = if time < config.attempt_timeout {
        Reason::Deadline
    } else {
        Reason::Timeout
    };
    let mut client = Grpc::new(channel).max_decoding_message_size(config.max_body_bytes);
    let closed = |error: tonic::transport::Error| Status::from_error(error.into());
    let failed = |status: Status| failure::<S>(&status, late);
    client.ready().await.map_err(closed).map_err(failed)?;
    let path = PathAndQuery::from_static(call.route);
    let answer = client.unary(request, path, codec).await.map_err(failed)?;
    let (metadata, message, _) = answer.into_parts();
    Ok((message, metadata.into_headers()))
}

/// What a status means to our client: the table above. Only what never reached us has a source.
fn failure<S: Scope>(status: &Status, late: Reason) -> Failure {
    if caused_by::<TimeoutExpired>(status) {
        return Failure::new(late);
    }
    if status.source().is_some() {
        let failure = Failure::new(Reason::Unavailable).because(status.message().to_owned());
        return if caused_by::<ConnectError>(status) {
            failure.unsent()
        } else {
            failure
        };
    }
    let (reason, answered) = match status.code() {
        Code::NotFound => (Reason::NotFound, Some(StatusCode::NOT_FOUND)),
        Code::PermissionDenied if S::PERSONAL => (Reason::Forbidden, Some(StatusCode::FORBIDDEN)),
        Code::ResourceExhausted => (Reason::Overloaded, Some(StatusCode::TOO_MANY_REQUESTS)),
        Code::Unavailable => (Reason::Unavailable, Some(StatusCode::SERVICE_UNAVAILABLE)),
        Code::DeadlineExceeded => (late, None),
        Code::InvalidArgument => (Reason::BadResponse, Some(StatusCode::UNPROCESSABLE_ENTITY)),
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => {
            (Reason::BadResponse, Some(StatusCode::CONFLICT))
        }
        Code::Unauthenticated => (Reason::BadResponse, Some(StatusCode::UNAUTHORIZED)),
        Code::PermissionDenied => (Reason::BadResponse, Some(StatusCode::FORBIDDEN)),
        _ => (Reason::BadResponse, None),
    };
    let pushback = status.metadata().get(PUSHBACK);
    let retry_after = pushback
        .and_then(|v| v.to_str().ok()?.parse().ok())
        .map(Duration::from_millis);
    let failure = Failure::new(reason)
        .retry_after(retry_after)
        .because(format!(
            "it answered {:?}: {}",
            status.code(),
            status.message()
        ));
    match answered {
        Some(answered) => failure.answer(answered, bytes::Bytes::new()),
        None => failure,
    }
}

fn caused_by<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{Caller, Public};

    fn reason<S: Scope>(code: Code) -> (Reason, Option<u16>) {
        let failure = failure::<S>(&Status::new(code, "why"), Reason::Timeout);
        (failure.reason(), failure.answered().map(|s| s.as_u16()))
    }

    #[test]
    fn a_status_becomes_what_the_table_says() {
        assert_eq!(
            reason::<Public>(Code::NotFound),
            (Reason::NotFound, Some(404))
        );
        assert_eq!(
            reason::<Caller>(Code::PermissionDenied),
            (Reason::Forbidden, Some(403))
        );
        assert_eq!(
            reason::<Public>(Code::PermissionDenied),
            (Reason::BadResponse, Some(403))
        );
        assert_eq!(
            reason::<Public>(Code::ResourceExhausted),
            (Reason::Overloaded, Some(429))
        );
        assert_eq!(
            reason::<Public>(Code::Unavailable),
            (Reason::Unavailable, Some(503))
        );
        assert_eq!(
            reason::<Public>(Code::DeadlineExceeded),
            (Reason::Timeout, None)
        );
        assert_eq!(
            reason::<Caller>(Code::InvalidArgument),
            (Reason::BadResponse, Some(422))
        );
        assert_eq!(reason::<Public>(Code::Unknown), (Reason::BadResponse, None));
    }

    #[test]
    fn what_never_left_can_be_told_from_what_broke_on_its_way() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let connect = Status::from_error(Box::new(ConnectError(refused().into())));
        let failed = failure::<Caller>(&connect, Reason::Timeout).after(true);
        assert_eq!(failed.error().code(), Reason::Unavailable.code());
        let reset = Status::from_error(Box::new(refused()));
        let failed = failure::<Caller>(&reset, Reason::Timeout).after(true);
        assert_eq!(failed.error().code(), crate::error::codes::OUTCOME_UNKNOWN);
    }

    #[test]
    fn pushback_is_a_hint_when_to_try_again() {
        let mut status = Status::unavailable("later");
        status
            .metadata_mut()
            .insert(PUSHBACK, "1500".parse().unwrap());
        let failure = failure::<Public>(&status, Reason::Timeout);
        assert_eq!(failure.retry_hint(), Some(Duration::from_millis(1500)));
    }
}
