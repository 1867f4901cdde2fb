//! Clients of the gateway: a closed loop that keeps what each was told, and some who hang up.

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

/// A page of its own for each request: calls for the same one would be made once for all.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// What is asked.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub(super) to: SocketAddr,
    pub(super) fields: &'static str,
    /// The client's own deadline.
    pub(super) within: Option<Duration>,
}

/// What one client was told.
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) took: Duration,
    pub(super) ok: bool,
    /// The code of a problem, or nothing.
    pub(super) code: String,
}

/// How many ask at once, how long each pauses between two requests, and when they stop.
pub(super) struct Crowd {
    pub(super) clients: usize,
    pub(super) pause: Duration,
    pub(super) time: Duration,
}

impl Crowd {
    /// Everybody asks again and again; all that they were told.
    pub(super) async fn ask(&self, page: Page) -> Result<Vec<Told>> {
        let until = Instant::now() + self.time;
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            clients.spawn(client(page, self.pause, until));
        }
        let mut told = Vec::new();
        while let Some(done) = clients.join_next().await {
            told.extend(done??);
        }
        Ok(told)
    }
}

/// So many ask once; when `all_asked`, they hang up.
pub(super) async fn hang_up(
    page: Page,
    clients: usize,
    all_asked: impl Fn() -> bool,
) -> Result<()> {
    let mut waiting = JoinSet::new();
    for _ in 0..clients {
        waiting.spawn(client(
            page,
            Duration::ZERO,
            Instant::now() + Duration::from_secs(1),
        ));
    }
    let patience = Instant::now() + Duration::from_secs(2);
    while !all_asked() {
        if Instant::now() > patience {
            return Err("not everybody's calls reached the backends".into());
        }
        sleep(Duration::from_millis(1)).await;
    }
    waiting.shutdown().await;
    Ok(())
}

async fn client(page: Page, pause: Duration, until: Instant) -> Result<Vec<Told>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the load comes from outside, not through a gateway's connector"
    )]
    let stream = TcpStream::connect(page.to).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // In this task, so that dropping it closes the connection.
    let asking = async {
        let mut told = Vec::new();
        while Instant::now() < until {
            let (at, request) = (Instant::now(), page.request()?);
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            let ok = answer.status().is_success();
            let body = answer.into_body().collect().await?.to_bytes();
            let code = if ok { String::new() } else { code(&body) };
            told.push(Told {
                at,
                took: at.elapsed(),
                ok,
                code,
            });
            sleep(pause).await;
        }
        Ok(told)
    };
    tokio::select! {
        told = asking => told,
        _ = connection => Err("the gateway closed the connection".into()),
    }
}

impl Page {
    fn request(&self) -> Result<Request<Empty<Bytes>>> {
        let (n, fields) = (NEXT.fetch_add(1, Ordering::Relaxed), self.fields);
        let page = format!("/api/product-details/p-{n}?fields={fields}");
        let mut request = Request::get(page).header(header::HOST, self.to.to_string());
        if let Some(within) = self.within {
            request = request.header("request-timeout", within.as_millis().to_string());
        }
        Ok(request.body(Empty::new())?)
    }
}

fn code(problem: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(problem).ok();
    let code = problem.and_then(|p| Some(p["code"].as_str()?.to_owned()));
    code.unwrap_or_else(|| "none".to_owned())
}

/// How often each way of failing was told.
pub(super) fn failures(told: &[Told]) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for told in told.iter().filter(|told| !told.ok) {
        *counts.entry(&told.code).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(c, n)| format!("{n} {c}")).collect();
    counts.join(", ")
}
