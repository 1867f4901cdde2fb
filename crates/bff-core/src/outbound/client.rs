//! The HTTP client of one backend, and the connections it keeps.
//!
//! Without TLS a connection is driven by the call that uses it: nothing is handed between tasks, and dropping the call
//! closes the connection, which is how the backend learns that nobody waits any more. With TLS, where HTTP/2 may be
//! negotiated and connections be shared, hyper-util's client does it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::response::Parts;
use http::uri::Authority;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tower::Service;

use super::{Config, Failure, Reason, TrustRoots, response_body};
use crate::net::{self, Connection, Connector, Net};

use tls::Tls;

mod tls;

/// The most connections that a thread keeps idle; one more is closed.
const MAX_IDLE: usize = 256;
/// Threads beyond so many share what they keep.
const POOL_SHARDS: usize = 64;
/// The most read of a refusal's body: it holds a reason, not data.
const MAX_REFUSAL_BYTES: usize = 8 << 10;
/// How long a refusal may take to be said after its status, which counts without it.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_millis(100);

/// An answer, read to its end.
pub(crate) type Answer = (Parts, Bytes);

/// The client of one backend.
#[derive(Debug)]
pub(crate) enum Client {
    /// HTTP/1.1, in clear.
    Cleartext(Box<CleartextClient>),
    /// Over TLS, HTTP/2 or HTTP/1.1.
    Tls(Box<Tls>),
}

impl Client {
    /// A client of the instance at `address`, over `net`.
    pub(crate) fn new(config: &Config, net: &Net, address: &Authority, trust: &TrustRoots) -> Self {
        let dial = Connector::new(net.clone(), config.connect_timeout).to(address.clone());
        if config.url.is_tls() {
            Self::Tls(Box::new(Tls::new(config, dial, trust)))
        } else {
            Self::Cleartext(Box::new(CleartextClient::new(config, dial)))
        }
    }

    /// Sends a request whose target is in origin form, and reads the answer's body of at most `max` bytes.
    ///
    /// It is boxed where it begins, for it is most of a call, and every policy around an attempt would move it.
    pub(crate) fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        max: usize,
    ) -> BoxFuture<'_, Result<Answer, Failure>> {
        match self {
            Self::Cleartext(plain) => Box::pin(plain.exchange(request, max)),
            Self::Tls(tls) => Box::pin(tls.exchange(request, max)),
        }
    }
}

/// Connections without TLS, the latest used first.
#[derive(Debug)]
pub(crate) struct CleartextClient {
    dial: Connector,
    at: Uri,
    host: HeaderValue,
    idle_timeout: Duration,
    /// By the thread that drives them: another one would be woken across cores.
    idle: Box<[Mutex<VecDeque<Idle>>]>,
}

#[derive(Debug)]
struct Idle {
    lane: Box<PooledConnection>,
    since: Instant,
}

/// One connection, and the handle that puts requests into it.
#[derive(Debug)]
struct PooledConnection {
    requests: http1::SendRequest<Full<Bytes>>,
    connection: http1::Connection<TokioIo<Connection>, Full<Bytes>>,
    closed: bool,
    home: usize,
}

/// Why a lane carried nothing back.
enum SendError {
    /// It was closed before anything was written: the request is whole.
    Unsent(Box<Request<Full<Bytes>>>),
    /// Anything else.
    Failed(Failure),
}

impl CleartextClient {
    fn new(config: &Config, dial: Connector) -> Self {
        let authority = config.url.authority();
        // An authority is made of characters that a header value may hold.
        let host = HeaderValue::from_str(authority.as_str());
        let at = config
            .url
            .absolute(http::uri::PathAndQuery::from_static("/"));
        Self {
            dial,
            at: at.unwrap_or_default(),
            host: host.unwrap_or_else(|_| HeaderValue::from_static("")),
            idle_timeout: config.idle_timeout,
            idle: (0..POOL_SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        max: usize,
    ) -> Result<Answer, Failure> {
        request
            .headers_mut()
            .insert(header::HOST, self.host.clone());
        loop {
            let kept = self.take().await;
            let idle = kept.is_some();
            let mut lane = match kept {
                Some(lane) => lane,
                // Boxed, for every call has room for it and few connect.
                None => Box::pin(self.open()).await?,
            };
            match lane.send_and_read(request, max).await {
                Ok(answer) => {
                    if lane.is_free() || lane.is_ready().await {
                        self.keep(lane);
                    }
                    return Ok(answer);
                }
                // The backend closed it while it lay idle. Another may do, and a new one will.
                Err(SendError::Unsent(whole)) if idle => request = *whole,
                Err(SendError::Unsent(_)) => {
                    return Err(Failure::new(Reason::Unavailable).not_sent());
                }
                Err(SendError::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// An idle connection that is still open.
    async fn take(&self) -> Option<Box<PooledConnection>> {
        let kept = self.idle(net::worker_index());
        loop {
            let Idle { mut lane, since } = kept.lock().pop_back()?;
            if net::now() - since > self.idle_timeout {
                // Those below it are older still.
                kept.lock().clear();
                return None;
            }
            if lane.is_ready().await {
                return Some(lane);
            }
        }
    }

    /// Keeps a connection that can carry another request.
    fn keep(&self, lane: Box<PooledConnection>) {
        let since = net::now();
        let mut idle = self.idle(lane.home).lock();
        let old = |idle: &Idle| since.duration_since(idle.since) > self.idle_timeout;
        while idle.len() >= MAX_IDLE || idle.front().is_some_and(old) {
            idle.pop_front();
        }
        idle.push_back(Idle { lane, since });
    }

    async fn open(&self) -> Result<Box<PooledConnection>, Failure> {
        let never = |cause: String| {
            Failure::new(Reason::Unavailable)
                .with_cause(cause)
                .not_sent()
        };
        let wire = self.dial.clone().call(self.at.clone()).await;
        let wire = wire.map_err(|error| never(error.to_string()))?;
        // One buffer a request: most have no body, and a vector of one costs the kernel more.
        let (requests, connection) = http1::Builder::new()
            .writev(false)
            .handshake(wire)
            .await
            .map_err(|error| never(error.to_string()))?;
        Ok(Box::new(PooledConnection {
            requests,
            connection,
            closed: false,
            home: net::worker_index(),
        }))
    }

    fn idle(&self, home: usize) -> &Mutex<VecDeque<Idle>> {
        &self.idle[home % POOL_SHARDS]
    }
}

impl PooledConnection {
    /// Sends one request and reads its answer.
    async fn send_and_read(
        &mut self,
        request: Request<Full<Bytes>>,
        max: usize,
    ) -> Result<Answer, SendError> {
        let answered = {
            let sent = pin!(self.requests.try_send_request(request));
            self.drive(sent).await
        };
        let response = answered.map_err(|mut error| match error.take_message() {
            Some(whole) => SendError::Unsent(Box::new(whole)),
            None => SendError::Failed(no_response(error.error())),
        })?;
        let read = pin!(read(response, max));
        self.drive(read).await.map_err(SendError::Failed)
    }

    /// Runs `work`, moving the connection's bytes whenever it waits.
    async fn drive<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> T {
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if !self.closed {
                self.closed = Pin::new(&mut self.connection).poll(cx).is_ready();
            }
            // What just arrived is taken at once and not after another round of the scheduler.
            work.as_mut().poll(cx)
        })
        .await
    }

    /// Whether it can carry a request. The connection is looked at, for nobody drives it while it lies idle.
    async fn is_ready(&mut self) -> bool {
        poll_fn(|cx| {
            if !self.closed {
                self.closed = Pin::new(&mut self.connection).poll(cx).is_ready();
            }
            Poll::Ready(())
        })
        .await;
        self.is_free()
    }

    /// Whether it could carry a request when the connection was last looked at: the one before is over, on both sides.
    fn is_free(&self) -> bool {
        !self.closed && self.requests.is_ready()
    }
}

/// The whole answer. A refusal is one, with an empty body, when that is too long, too slow or broken.
async fn read(response: Response<Incoming>, max: usize) -> Result<Answer, Failure> {
    let (head, body) = response.into_parts();
    let body = if head.status.is_success() {
        response_body::read_limited(&head.headers, body, max).await?
    } else {
        let said = response_body::read_limited(&head.headers, body, MAX_REFUSAL_BYTES);
        let said = timeout(ERROR_BODY_TIMEOUT, said).await;
        said.ok().and_then(Result::ok).unwrap_or_default()
    };
    Ok((head, body))
}

/// Nothing was answered: reset, or closed too soon.
fn no_response(error: &(dyn std::error::Error + 'static)) -> Failure {
    let cause = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    Failure::new(Reason::Unavailable).with_cause(cause)
}
