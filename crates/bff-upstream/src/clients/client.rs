//! The HTTP/1.1 client for buffered responses without TLS. It takes 6 % less CPU per page than hyper-util's client.
//!
//! The call itself drives its connection, so no data passes between tasks, and each worker thread has its own idle
//! connections. Dropping the call closes the connection, which cancels the request at the backend.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tower::Service;

use super::response_body;
use crate::config::Config;
use bff_context::context::{Failure, Reason};
use bff_runtime::net::{self, Connection, Connector};

/// The maximum number of idle connections per pool shard. The oldest ones above it are closed.
const MAX_IDLE: usize = 256;
/// The number of pool shards. Up to this number, every worker thread has its own.
const POOL_SHARDS: usize = 64;
/// The maximum size of an error response's body: it carries a reason, not data.
const MAX_ERROR_BODY_BYTES: usize = 8 << 10;
/// The timeout for the body of an error response. After it the status counts without a body.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_millis(100);

/// A response with its complete body.
pub(crate) type BufferedResponse = (Parts, Bytes);

/// A client without TLS. It reuses the connection used last.
#[derive(Debug)]
pub(crate) struct CleartextClient {
    connector: Connector,
    base_uri: Uri,
    host: HeaderValue,
    idle_timeout: Duration,
    max_headers: usize,
    /// The idle connections by worker thread: use on another thread would need wake-ups across cores.
    idle: Box<[Mutex<VecDeque<IdleConnection>>]>,
}

#[derive(Debug)]
struct IdleConnection {
    connection: Box<PooledConnection>,
    since: Instant,
}

/// A connection with the handle that sends requests on it.
#[derive(Debug)]
struct PooledConnection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Connection>, Full<Bytes>>,
    closed: bool,
    worker: usize,
}

/// The error of an exchange on one connection.
enum SendError {
    /// The connection was closed before the request was written. The request can be sent again.
    Unsent(Box<Request<Full<Bytes>>>),
    /// Any other failure.
    Failed(Failure),
}

impl CleartextClient {
    pub(crate) fn new(config: &Config, connector: Connector) -> Self {
        let authority = config.url.authority();
        // Cannot fail: every character of an authority is valid in a header value.
        let host = HeaderValue::from_str(authority.as_str());
        let base_uri = config
            .url
            .absolute(http::uri::PathAndQuery::from_static("/"));
        Self {
            connector,
            base_uri: base_uri.unwrap_or_default(),
            host: host.unwrap_or_else(|_| HeaderValue::from_static("")),
            idle_timeout: config.idle_timeout,
            max_headers: config.http1_max_headers,
            idle: (0..POOL_SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Sends a request in origin form and reads the response body of at most `max_body_bytes`.
    pub(crate) async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        max_body_bytes: usize,
    ) -> Result<BufferedResponse, Failure> {
        request
            .headers_mut()
            .insert(header::HOST, self.host.clone());
        loop {
            let pooled = self.take_idle().await;
            let reused = pooled.is_some();
            let mut connection = match pooled {
                Some(connection) => connection,
                // Boxed: otherwise every call's future would reserve space for connecting, which is rare.
                None => Box::pin(self.connect()).await?,
            };
            match connection.send_and_read(request, max_body_bytes).await {
                Ok(response) => {
                    if connection.is_free() || connection.is_ready().await {
                        self.return_to_pool(connection);
                    }
                    return Ok(response);
                }
                // The backend closed the idle connection. Retry on another one, in the end on a new one.
                Err(SendError::Unsent(unsent)) if reused => request = *unsent,
                Err(SendError::Unsent(_)) => {
                    return Err(Failure::new(Reason::Unavailable).not_sent());
                }
                Err(SendError::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// Takes an idle connection that is still open.
    async fn take_idle(&self) -> Option<Box<PooledConnection>> {
        let shard = self.pool_shard(net::worker_index());
        loop {
            let IdleConnection {
                mut connection,
                since,
            } = shard.lock().pop_back()?;
            if Instant::now() - since > self.idle_timeout {
                // The remaining connections are even older.
                shard.lock().clear();
                return None;
            }
            if connection.is_ready().await {
                return Some(connection);
            }
        }
    }

    /// Returns a connection to the pool.
    fn return_to_pool(&self, connection: Box<PooledConnection>) {
        let since = Instant::now();
        let mut idle = self.pool_shard(connection.worker).lock();
        let expired = |idle: &IdleConnection| since.duration_since(idle.since) > self.idle_timeout;
        while idle.len() >= MAX_IDLE || idle.front().is_some_and(expired) {
            idle.pop_front();
        }
        idle.push_back(IdleConnection { connection, since });
    }

    async fn connect(&self) -> Result<Box<PooledConnection>, Failure> {
        let unreachable = |cause: String| {
            Failure::new(Reason::Unavailable)
                .with_cause(cause)
                .not_sent()
        };
        let stream = self.connector.clone().call(self.base_uri.clone()).await;
        let stream = stream.map_err(|error| unreachable(error.to_string()))?;
        // No vectored writes: most requests have no body, and `writev` with one buffer is slower than `write`.
        let (sender, driver) = http1::Builder::new()
            .writev(false)
            .max_headers(self.max_headers)
            .handshake(stream)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        Ok(Box::new(PooledConnection {
            sender,
            driver,
            closed: false,
            worker: net::worker_index(),
        }))
    }

    fn pool_shard(&self, worker: usize) -> &Mutex<VecDeque<IdleConnection>> {
        &self.idle[worker % POOL_SHARDS]
    }
}

impl PooledConnection {
    /// Sends one request and reads its response.
    async fn send_and_read(
        &mut self,
        request: Request<Full<Bytes>>,
        max_body_bytes: usize,
    ) -> Result<BufferedResponse, SendError> {
        let sent = {
            let send = pin!(self.sender.try_send_request(request));
            self.drive(send).await
        };
        let response = sent.map_err(|mut error| match error.take_message() {
            Some(request) => SendError::Unsent(Box::new(request)),
            None => SendError::Failed(no_response(error.error())),
        })?;
        let read = pin!(read_response(response, max_body_bytes));
        self.drive(read).await.map_err(SendError::Failed)
    }

    /// Polls `work`, and drives the connection while `work` is pending.
    async fn drive<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> T {
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            if !self.closed {
                self.closed = Pin::new(&mut self.driver).poll(cx).is_ready();
            }
            // The second poll uses the data that just arrived, without another round of the scheduler.
            work.as_mut().poll(cx)
        })
        .await
    }

    /// Whether the connection can carry a request. Polls it first, because no task drives an idle connection.
    async fn is_ready(&mut self) -> bool {
        poll_fn(|cx| {
            if !self.closed {
                self.closed = Pin::new(&mut self.driver).poll(cx).is_ready();
            }
            Poll::Ready(())
        })
        .await;
        self.is_free()
    }

    /// Whether the connection, as of its last poll, is open and the previous exchange is complete in both directions.
    fn is_free(&self) -> bool {
        !self.closed && self.sender.is_ready()
    }
}

/// Reads the complete response. An error response has an empty body if reading the body fails or takes too long.
pub(crate) async fn read_response(
    response: Response<Incoming>,
    max_body_bytes: usize,
) -> Result<BufferedResponse, Failure> {
    let (head, body) = response.into_parts();
    let body = if head.status.is_success() {
        response_body::read_limited(&head.headers, body, max_body_bytes).await?
    } else {
        let read = response_body::read_limited(&head.headers, body, MAX_ERROR_BODY_BYTES);
        let read = timeout(ERROR_BODY_TIMEOUT, read).await;
        read.ok().and_then(Result::ok).unwrap_or_default()
    };
    Ok((head, body))
}

/// The failure of a request without a response: the head of the response is malformed, or the connection was reset or
/// closed too early.
pub(crate) fn no_response(error: &(dyn std::error::Error + 'static)) -> Failure {
    let is_malformed = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref().is_some_and(hyper::Error::is_parse)
    };
    let (mut cause, mut malformed) = (error, is_malformed(error));
    while let Some(source) = cause.source() {
        cause = source;
        malformed |= is_malformed(cause);
    }
    let reason = if malformed {
        Reason::BadResponse
    } else {
        Reason::Unavailable
    };
    Failure::new(reason).with_cause(cause.to_string())
}
