//! The load: a closed loop of requests on persistent connections. Every response is checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Result;

/// The number of requested products. It exceeds the number of connections, so concurrent pages share no backend calls.
const PRODUCTS: usize = 10_000;
/// The maximum duration of one turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(300);

/// The requests to send, and the expected response.
#[derive(Clone)]
pub(crate) struct Load {
    /// The address of the gateway.
    pub(crate) to: SocketAddr,
    /// The number of requests.
    pub(crate) requests: usize,
    /// The number of connections.
    pub(crate) connections: u16,
    /// The values of `Authorization`, used in rotation from `first` on. Empty: no authorization.
    pub(crate) tokens: Arc<[HeaderValue]>,
    /// The index of the first request's token.
    pub(crate) first: usize,
    /// A text that every complete response contains.
    pub(crate) marker: &'static str,
}

impl Load {
    /// Sends all requests and returns their latencies. Fails at the first unexpected response.
    pub(crate) async fn run(self) -> Result<Vec<Duration>> {
        let total = self.requests;
        let (load, next) = (Arc::new(self), Arc::new(AtomicUsize::new(0)));
        let mut connections = JoinSet::new();
        for _ in 0..load.connections {
            connections.spawn(run_connection(load.clone(), next.clone()));
        }
        let all = async {
            let mut latencies = Vec::with_capacity(total);
            while let Some(done) = connections.join_next().await {
                latencies.extend(done??);
            }
            Ok(latencies)
        };
        let in_time = tokio::time::timeout(TURN_TIMEOUT, all).await;
        in_time.map_err(|_| format!("{total} requests took longer than {TURN_TIMEOUT:?}"))?
    }

    fn request(&self, n: usize, host: &HeaderValue) -> Result<Request<Empty<Bytes>>> {
        let id = n % PRODUCTS;
        let page = format!("/api/product-details/p-{id}?fields=product,reviews,availability");
        let mut request = Request::get(page).body(Empty::new())?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, host.clone());
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if !self.tokens.is_empty() {
            let token = &self.tokens[(self.first + n) % self.tokens.len()];
            headers.insert(header::AUTHORIZATION, token.clone());
        }
        Ok(request)
    }

    fn check(&self, status: StatusCode, body: &[u8]) -> Result<()> {
        let marker = self.marker.as_bytes();
        let complete = || body.windows(marker.len()).any(|part| part == marker);
        if status == StatusCode::OK && complete() {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&body[..body.len().min(300)]);
        let expected = self.marker;
        Err(format!(
            "expected 200 with {expected}, but {} responded {status}: {shown}",
            self.to
        )
        .into())
    }
}

/// One connection of the loop. It sends a request after it has read the previous response.
async fn run_connection(load: Arc<Load>, next: Arc<AtomicUsize>) -> Result<Vec<Duration>> {
    let host = HeaderValue::from_str(&load.to.to_string())?;
    let mut sender = connect(load.to).await?;
    let mut latencies = Vec::with_capacity(load.requests / usize::from(load.connections) * 2);
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= load.requests {
            return Ok(latencies);
        }
        let request = load.request(n, &host)?;
        sender.ready().await?;
        let start = Instant::now();
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        latencies.push(start.elapsed());
        load.check(status, &body)?;
    }
}

async fn connect(to: SocketAddr) -> Result<SendRequest<Empty<Bytes>>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the load comes from outside, not through a gateway's connector"
    )]
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // The sender reports an error of the connection.
    tokio::spawn(connection);
    Ok(sender)
}
