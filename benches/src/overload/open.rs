//! Clients who come by chance and do not wait for one another, and a closed loop to compare them with.

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

use crate::Result;

/// How long a client waits: the gateway's own deadline.
const DEADLINE: Duration = Duration::from_secs(2);

/// Who comes, in percent: prefetches, anonymous views, and the rest signed in.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    prefetch: u64,
    anonymous: u64,
}

impl Mix {
    /// The classes in the order of all arrays here.
    pub(crate) const NAMES: [&str; 3] = ["prefetch", "anonymous", "signed in"];
    /// A shop's: most look around, three in ten are signed in, one request in five is a page's own guess.
    pub(crate) const USUAL: Self = Self {
        prefetch: 20,
        anonymous: 50,
    };

    fn draw(self, random: u64) -> usize {
        match random % 100 {
            n if n < self.prefetch => 0,
            n if n < self.prefetch + self.anonymous => 1,
            _ => 2,
        }
    }
}

/// What clients of one class met.
#[derive(Default)]
pub(crate) struct ClientResults {
    pub(crate) offered: usize,
    /// How long each answer took that came within the deadline.
    pub(crate) took: Vec<Duration>,
    /// 503 `overloaded`.
    pub(crate) refused: usize,
    /// Anything else.
    pub(crate) failed: usize,
}

/// How one request ended.
enum End {
    InTime(Duration),
    Refused,
    Failed,
}

/// All clients of one gateway.
#[derive(Clone)]
pub(crate) struct Clients {
    to: SocketAddr,
    tokens: Arc<[HeaderValue]>,
    http: Client<HttpConnector, Empty<Bytes>>,
    /// Each asks for a page of its own: calls for the same one would be made once for all.
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

    /// `rate` a second come for `time` (Poisson). All are waited for; what came of them, by class.
    pub(crate) async fn come(
        &self,
        rate: f64,
        mix: Mix,
        time: Duration,
    ) -> Result<[ClientResults; 3]> {
        let began = Instant::now();
        let (mut at, mut random) = (Duration::ZERO, Random(1));
        let mut clients = JoinSet::new();
        loop {
            at += Duration::from_secs_f64(-random.share().ln() / rate);
            if at >= time {
                break;
            }
            sleep_until(began + at).await;
            let class = mix.draw(random.next());
            let client = self.clone();
            clients.spawn(async move { (class, client.ask(class).await) });
        }
        let mut met = <[ClientResults; 3]>::default();
        while let Some(done) = clients.join_next().await {
            let (class, end) = done?;
            let met = &mut met[class];
            met.offered += 1;
            match end? {
                End::InTime(took) => met.took.push(took),
                End::Refused => met.refused += 1,
                End::Failed => met.failed += 1,
            }
        }
        Ok(met)
    }

    /// Answers a second when so many are always on their way, signed in. Any other answer ends the run.
    pub(crate) async fn loop_of(&self, clients: u16, time: Duration) -> Result<f64> {
        let until = Instant::now() + time;
        let mut busy = JoinSet::new();
        for _ in 0..clients {
            let client = self.clone();
            busy.spawn(async move {
                let mut answered = 0_u32;
                while Instant::now() < until {
                    match client.ask(2).await? {
                        End::InTime(_) => answered += 1,
                        _ => return Err("a request of the closed loop was not answered".into()),
                    }
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(answered)
            });
        }
        let mut answered = 0.0;
        while let Some(done) = busy.join_next().await {
            answered += f64::from(done??);
        }
        // The last answers come after the time; they are as many as its beginning was short of.
        Ok(answered / (time + super::SERVICE).as_secs_f64())
    }

    async fn ask(&self, class: usize) -> Result<End> {
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
        let began = Instant::now();
        let whole = async {
            let answer = self.http.request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, body))
        };
        Ok(match timeout(DEADLINE, whole).await {
            Ok(Ok((StatusCode::OK, body))) if contains(&body, br#""complete":true"#) => {
                End::InTime(began.elapsed())
            }
            Ok(Ok((StatusCode::SERVICE_UNAVAILABLE, body))) if contains(&body, b"overloaded") => {
                End::Refused
            }
            _ => End::Failed,
        })
    }
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

/// Draws that are the same in every run (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, and never 0.
    fn share(&mut self) -> f64 {
        let [.., a, b, c, d] = self.next().to_be_bytes();
        (f64::from(u32::from_be_bytes([a, b, c, d])) + 1.0) / (f64::from(u32::MAX) + 1.0)
    }
}
