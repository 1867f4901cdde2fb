//! One schedule: twenty requests of several clients under the faults of a seed, and what came of each.

use std::collections::BTreeSet;
use std::time::Duration;

use bff_core::net::Dial;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use services_mock::Backend;
use tokio::time::{Instant, sleep, timeout};

use super::draw::Draw;
use super::world::{Town, authority, start};

/// How many requests a schedule makes.
const REQUESTS: u64 = 20;

/// The pages asked for: gateway, path, the gateway's deadline in milliseconds.
const PAGES: [(&str, &str, u64); 8] = [
    ("web", "/api/product-details/p-1", 2000),
    ("web", "/api/home", 2000),
    ("web", "/api/me", 2000),
    ("mobile", "/v1/home", 1500),
    ("mobile", "/v1/products/p-2", 1500),
    ("tv", "/v1/browse", 3000),
    ("tv", "/v1/titles/p-3", 3000),
    ("partner", "/v2/products/p-1", 5000),
];

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) path: &'static str,
    pub(crate) asker: &'static str,
    /// None when the client hung up first.
    pub(crate) status: Option<u16>,
    pub(crate) took: Duration,
    pub(crate) budget: Duration,
    pub(crate) sections: String,
    /// What of the answer is not true.
    pub(crate) lies: Vec<String>,
    /// Whether anything was broken that could have caused a refusal.
    pub(crate) excuse: bool,
}

/// Runs a schedule to its end, in a runtime without a driver for sockets.
pub(crate) fn run(seed: u64) -> Vec<Event> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    // A watchdog in virtual time: a schedule that stands still is a failure too.
    let hour = Duration::from_secs(3600);
    runtime.block_on(async move { timeout(hour, schedule(seed)).await.unwrap() })
}

async fn schedule(seed: u64) -> Vec<Event> {
    let town = start(seed);
    let mut struck = BTreeSet::new();
    for backend in [
        Backend::Product,
        Backend::Review,
        Backend::Inventory,
        Backend::User,
    ] {
        let mut draw = Draw::of(seed, backend.name(), 0);
        if draw.chance(40) {
            town.mocks.set_fault(backend, draw.fault()).unwrap();
            struck.insert(backend.name());
        }
    }
    let begun = Instant::now();
    let asking = (0..REQUESTS).map(|n| ask(&town, &struck, seed, n, begun));
    let mut log = futures_util::future::join_all(asking).await;
    log.sort_by_key(|event| event.at);
    // No orphans: when everybody has an answer or left, nothing is under way but what faults hold open.
    sleep(Duration::from_secs(6)).await;
    for backend in Backend::ALL {
        let stats = town.mocks.stats(backend);
        assert_eq!(stats.in_flight, 0, "seed {seed}: orphans at {backend}");
    }
    log
}

async fn ask(town: &Town, struck: &BTreeSet<&str>, seed: u64, n: u64, begun: Instant) -> Event {
    let mut draw = Draw::of(seed, "client", n);
    let (gateway, path, deadline) = draw.one(&PAGES);
    let asker = draw.one(&["", "ada", "ben"]);
    sleep(draw.millis(3000)).await;
    let at = Instant::now();
    let mut request = Request::get(format!("http://{}{path}", authority(gateway)));
    let mut budget = deadline;
    if draw.chance(30) {
        budget = 50 + draw.below(1500);
        request = request.header("request-timeout", budget);
    }
    if gateway == "partner" {
        request = request.header("x-api-key", fleet::PARTNER_KEY);
    } else if let Some(token) = town.mocks.token_for(asker) {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let client: Client<Dial, Empty<Bytes>> = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .build(Dial::new(town.net.clone(), Duration::from_secs(1)));
    let patience = if draw.chance(20) {
        draw.millis(500)
    } else {
        Duration::from_secs(60)
    };
    let answer = timeout(patience, async {
        let response = client.request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let sections = head
            .headers
            .get("sections")
            .map(|s| s.to_str().unwrap().to_owned());
        (head.status.as_u16(), sections.unwrap_or_default(), body)
    });
    let answer = answer.await.ok();
    let took = at.elapsed();
    let broken = |backend: &str| struck.contains(backend) || town.broken.has(backend);
    let hurried = budget < deadline;
    let mut event = Event {
        at: at - begun,
        path,
        asker,
        status: answer.as_ref().map(|a| a.0),
        took,
        budget: Duration::from_millis(budget),
        sections: String::new(),
        lies: Vec::new(),
        excuse: hurried || broken("product") || broken("user"),
    };
    if path == "/api/me" && asker.is_empty() {
        // Nobody is signed in: the only refusal that needs no fault.
        assert_eq!(event.status.unwrap_or(401), 401, "seed {seed}");
        event.status = None;
        return event;
    }
    if let Some((200, sections, body)) = answer {
        let body: Value = serde_json::from_slice(&body).unwrap();
        event.lies = lies(&body, &sections, asker, &|source| hurried || broken(source));
        event.sections = sections;
    }
    event
}

/// What an answer says that is not so.
fn lies(body: &Value, header: &str, asker: &str, excused: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut lies = Vec::new();
    let mut lost = false;
    for (name, told) in body["_meta"]["sections"].as_object().unwrap() {
        let state = told["state"].as_str().unwrap();
        let source = told["source"].as_str().unwrap_or_default();
        let top = name.split('.').next().unwrap_or_default();
        match state {
            "fresh" if body[top].is_null() => lies.push(format!("{name} is fresh and null")),
            "fresh" => {}
            "missing" => {
                lost |= told["reason"] != "not_found";
                if top == name && !body[top].is_null() {
                    lies.push(format!("{name} is missing and there"));
                }
                if !source.is_empty() && !excused(source) {
                    lies.push(format!("{name} is missing and {source} is well"));
                }
            }
            other => lies.push(format!("{name} is {other}, and nothing is kept")),
        }
        let said = format!("{name}={state}");
        if !header.split(", ").any(|member| member == said) {
            lies.push(format!("the header does not say {said}"));
        }
    }
    if body["_meta"]["complete"] == lost {
        lies.push("complete is not".to_owned());
    }
    let own = &body["profile"]["id"];
    if own.is_string() && own != asker {
        lies.push(format!("{asker} was shown {own}"));
    }
    let personal = body.get("friends").is_some_and(|f| !f.is_null());
    if personal && asker.is_empty() {
        lies.push("nobody was shown friends".to_owned());
    }
    lies
}
