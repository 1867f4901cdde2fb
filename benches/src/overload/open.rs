//! Clients in an open loop (Poisson arrivals), and in a closed loop for comparison.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::bounded::SERVICE_TIME;
use crate::Result;

/// The timeout of a client: the gateway's own deadline.
const DEADLINE: Duration = Duration::from_secs(2);

/// The mix of requests in percent: prefetch, anonymous, and the rest signed in.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    prefetch: u64,
    anonymous: u64,
}

impl Mix {
    /// The classes, in the order of all arrays.
    pub(crate) const NAMES: [&str; 3] = ["prefetch", "anonymous", "signed in"];
    /// The mix of a shop: one request in five is a prefetch, half are anonymous, three in ten are signed in.
    pub(crate) const USUAL: Self = Self {
        prefetch: 20,
        anonymous: 50,
    };

    fn select_class(self, random: u64) -> usize {
        match random % 100 {
            n if n < self.prefetch => 0,
            n if n < self.prefetch + self.anonymous => 1,
            _ => 2,
        }
    }
}

/// The results of one class.
#[derive(Default)]
pub(crate) struct ClientResults {
    pub(crate) offered: usize,
    /// The latencies of the responses within the deadline.
    pub(crate) latencies: Vec<Duration>,
    /// Responses with 503 `overloaded`.
    pub(crate) rejected: usize,
    /// All other outcomes.
    pub(crate) failed: usize,
}

/// The outcome of one request.
enum Outcome {
    InTime(Duration),
    Rejected,
    Failed,
}

/// The clients of one gateway.
#[derive(Clone)]
pub(crate) struct Clients {
    to: SocketAddr,
    tokens: Arc<[HeaderValue]>,
    http: Client<HttpConnector, Empty<Bytes>>,
    /// The next product. Each request has its own, because equal backend calls would be coalesced.
    next: Arc<AtomicUsize>,
}

impl Clients {
    pub(crate) fn new(to: SocketAddr, tokens: Vec<HeaderValue>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            to,
            tokens: tokens.into(),
            http: Client::builder(TokioExecutor::new()).build(connector),
            next: Arc::default(),
        }
    }

    /// Sends `rate` requests per second (Poisson) for `time`. Returns the results by class after all have ended.
    pub(crate) async fn open_loop(
        &self,
        rate: f64,
        mix: Mix,
        time: Duration,
    ) -> Result<[ClientResults; 3]> {
        let start = Instant::now();
        let (mut at, mut random) = (Duration::ZERO, Random(1));
        let mut clients = JoinSet::new();
        loop {
            at += Duration::from_secs_f64(-random.fraction().ln() / rate);
            if at >= time {
                break;
            }
            sleep_until(start + at).await;
            let class = mix.select_class(random.next());
            let client = self.clone();
            clients.spawn(async move { (class, client.send(class).await) });
        }
        let mut results = <[ClientResults; 3]>::default();
        while let Some(done) = clients.join_next().await {
            let (class, outcome) = done?;
            let result = &mut results[class];
            result.offered += 1;
            match outcome? {
                Outcome::InTime(latency) => result.latencies.push(latency),
                Outcome::Rejected => result.rejected += 1,
                Outcome::Failed => result.failed += 1,
            }
        }
        Ok(results)
    }

    /// Sends requests of signed-in users in a closed loop of `clients`. Returns responses per second. Fails if a request
    /// fails.
    pub(crate) async fn closed_loop(&self, clients: u16, time: Duration) -> Result<f64> {
        let until = Instant::now() + time;
        let mut busy = JoinSet::new();
        for _ in 0..clients {
            let client = self.clone();
            busy.spawn(async move {
                let mut answered = 0_u32;
                while Instant::now() < until {
                    match client.send(2).await? {
                        Outcome::InTime(_) => answered += 1,
                        _ => return Err("a request of the closed loop failed".into()),
                    }
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(answered)
            });
        }
        let mut answered = 0.0;
        while let Some(done) = busy.join_next().await {
            answered += f64::from(done??);
        }
        // The last responses arrive up to one service time after the end.
        Ok(answered / (time + SERVICE_TIME).as_secs_f64())
    }

    async fn send(&self, class: usize) -> Result<Outcome> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let page = format!(
            "http://{}/api/product-details/p-{n}?fields=product",
            self.to
        );
        let mut request = Request::get(page).body(Empty::new())?;
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if class == 0 {
            headers.insert("priority", HeaderValue::from_static("u=6"));
        } else if class == 2 {
            let token = &self.tokens[n % self.tokens.len()];
            headers.insert(header::AUTHORIZATION, token.clone());
        }
        let start = Instant::now();
        let response = async {
            let response = self.http.request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, body))
        };
        Ok(match timeout(DEADLINE, response).await {
            Ok(Ok((StatusCode::OK, body))) if contains(&body, br#""complete":true"#) => {
                Outcome::InTime(start.elapsed())
            }
            Ok(Ok((StatusCode::SERVICE_UNAVAILABLE, body))) if contains(&body, b"overloaded") => {
                Outcome::Rejected
            }
            _ => Outcome::Failed,
        })
    }
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

/// A random number generator that is the same in every run (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `(0, 1]`.
    fn fraction(&mut self) -> f64 {
        let [.., a, b, c, d] = self.next().to_be_bytes();
        (f64::from(u32::from_be_bytes([a, b, c, d])) + 1.0) / (f64::from(u32::MAX) + 1.0)
    }
}
