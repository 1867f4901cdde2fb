//! Clients of the gateway: a closed loop that records every response, and clients that disconnect.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Result;

/// The next product. Each request has its own, because equal backend calls would be coalesced.
static NEXT_PRODUCT: AtomicUsize = AtomicUsize::new(0);

/// The requested page.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub(super) to: SocketAddr,
    pub(super) fields: &'static str,
    /// The client's `Request-Timeout`.
    pub(super) request_timeout: Option<Duration>,
}

/// One recorded response.
pub(super) struct RecordedResponse {
    pub(super) sent_at: Instant,
    pub(super) latency: Duration,
    pub(super) ok: bool,
    /// The code of the problem document; empty on success.
    pub(super) code: String,
}

/// A closed loop: the number of clients, the pause between two requests, and the duration.
pub(super) struct ClosedLoop {
    pub(super) clients: usize,
    pub(super) pause: Duration,
    pub(super) time: Duration,
}

impl ClosedLoop {
    /// Runs the loop and returns all responses.
    pub(super) async fn run(&self, page: Page) -> Result<Vec<RecordedResponse>> {
        let until = Instant::now() + self.time;
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            clients.spawn(client(page, self.pause, until));
        }
        let mut responses = Vec::new();
        while let Some(done) = clients.join_next().await {
            responses.extend(done??);
        }
        Ok(responses)
    }
}

/// Starts `clients` clients. When `all_in_flight`, they disconnect.
pub(super) async fn disconnect(
    page: Page,
    clients: usize,
    all_in_flight: impl Fn() -> bool,
) -> Result<()> {
    let mut waiting = JoinSet::new();
    for _ in 0..clients {
        waiting.spawn(client(
            page,
            Duration::ZERO,
            Instant::now() + Duration::from_secs(1),
        ));
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    while !all_in_flight() {
        if Instant::now() > deadline {
            return Err("some calls did not reach the backends".into());
        }
        sleep(Duration::from_millis(1)).await;
    }
    waiting.shutdown().await;
    Ok(())
}

async fn client(page: Page, pause: Duration, until: Instant) -> Result<Vec<RecordedResponse>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the load comes from outside, not through a gateway's connector"
    )]
    let stream = TcpStream::connect(page.to).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // The connection is polled in this task, so dropping the task closes it.
    let requests = async {
        let mut responses = Vec::new();
        while Instant::now() < until {
            let (sent_at, request) = (Instant::now(), page.request()?);
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let ok = response.status().is_success();
            let body = response.into_body().collect().await?.to_bytes();
            let code = if ok {
                String::new()
            } else {
                problem_code(&body)
            };
            responses.push(RecordedResponse {
                sent_at,
                latency: sent_at.elapsed(),
                ok,
                code,
            });
            sleep(pause).await;
        }
        Ok(responses)
    };
    tokio::select! {
        responses = requests => responses,
        _ = connection => Err("the gateway closed the connection".into()),
    }
}

impl Page {
    fn request(&self) -> Result<Request<Empty<Bytes>>> {
        let (n, fields) = (NEXT_PRODUCT.fetch_add(1, Ordering::Relaxed), self.fields);
        let page = format!("/api/product-details/p-{n}?fields={fields}");
        let mut request = Request::get(page).header(header::HOST, self.to.to_string());
        if let Some(timeout) = self.request_timeout {
            request = request.header("request-timeout", timeout.as_millis().to_string());
        }
        Ok(request.body(Empty::new())?)
    }
}

fn problem_code(problem: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(problem).ok();
    let code = problem.and_then(|p| Some(p["code"].as_str()?.to_owned()));
    code.unwrap_or_else(|| "none".to_owned())
}

/// The number of responses for each error code.
pub(super) fn failures(responses: &[RecordedResponse]) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for response in responses.iter().filter(|response| !response.ok) {
        *counts.entry(&response.code).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(c, n)| format!("{n} {c}")).collect();
    counts.join(", ")
}
