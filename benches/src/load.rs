//! The load: a closed loop of requests on connections that stay open, every answer checked.

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

/// How many products are asked for in turns: more than connections, or pages made at once would share their calls.
const PRODUCTS: usize = 10_000;
/// How long all requests of one turn may take together.
const LIMIT: Duration = Duration::from_secs(300);

/// What is sent, and what must come back.
#[derive(Clone)]
pub(crate) struct Load {
    /// The gateway.
    pub(crate) to: SocketAddr,
    /// How many requests.
    pub(crate) requests: usize,
    /// On how many connections.
    pub(crate) connections: u16,
    /// `Authorization` in turns, from `first` on; empty for none.
    pub(crate) tokens: Arc<[HeaderValue]>,
    /// The index of the first request's token.
    pub(crate) first: usize,
    /// What a complete answer contains.
    pub(crate) proof: &'static str,
}

impl Load {
    /// Sends all of it; answers how long each request took. The first wrong answer ends everything.
    pub(crate) async fn run(self) -> Result<Vec<Duration>> {
        let total = self.requests;
        let (load, next) = (Arc::new(self), Arc::new(AtomicUsize::new(0)));
        let mut connections = JoinSet::new();
        for _ in 0..load.connections {
            connections.spawn(connection(load.clone(), next.clone()));
        }
        let all = async {
            let mut latencies = Vec::with_capacity(total);
            while let Some(done) = connections.join_next().await {
                latencies.extend(done??);
            }
            Ok(latencies)
        };
        let in_time = tokio::time::timeout(LIMIT, all).await;
        in_time.map_err(|_| format!("{total} requests took longer than {LIMIT:?}"))?
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
        let proof = self.proof.as_bytes();
        let complete = || body.windows(proof.len()).any(|part| part == proof);
        if status == StatusCode::OK && complete() {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&body[..body.len().min(300)]);
        let wanted = self.proof;
        Err(format!(
            "wanted 200 and {wanted}, {} answered {status}: {shown}",
            self.to
        )
        .into())
    }
}

/// One connection of the loop: the next request leaves when the answer to the last has been read.
async fn connection(load: Arc<Load>, next: Arc<AtomicUsize>) -> Result<Vec<Duration>> {
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
    // Its end, whichever, is the sender's error.
    tokio::spawn(connection);
    Ok(sender)
}
