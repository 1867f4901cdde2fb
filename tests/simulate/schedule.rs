//! One schedule: twenty requests of several clients under the faults of a seed, and what came of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
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

/// Who asks; the first is nobody.
const ASKERS: [&str; 3] = ["", "ada", "ben"];

/// Every page as each asker sees it while nothing is broken: what `fresh` must look like.
static HEALTHY: LazyLock<BTreeMap<(&str, &str), Value>> = LazyLock::new(|| {
    simulated(async {
        let town = start(0, false);
        let mut pages = BTreeMap::new();
        for (gateway, path, _) in PAGES {
            for asker in ASKERS {
                let request = request(&town, gateway, path, asker);
                let (_, _, body) = fetch(&town, request.body(Empty::new()).unwrap()).await;
                pages.insert((path, asker), serde_json::from_slice(&body).unwrap());
            }
        }
        pages
    })
});

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

/// Runs a schedule to its end.
pub(crate) fn run(seed: u64) -> Vec<Event> {
    LazyLock::force(&HEALTHY);
    simulated(schedule(seed))
}

/// Runs something in a runtime without a driver for sockets, under a watchdog in virtual time: what stands
/// still has failed too.
fn simulated<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let hour = Duration::from_secs(3600);
    runtime.block_on(async move { timeout(hour, story).await.unwrap() })
}

async fn schedule(seed: u64) -> Vec<Event> {
    let town = start(seed, true);
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
    // No orphans: once everybody has an answer or left, no call outlives them, hanging ones included.
    sleep(Duration::from_millis(50)).await;
    for backend in Backend::ALL {
        let stats = town.mocks.stats(backend);
        assert_eq!(stats.in_flight, 0, "seed {seed}: orphans at {backend}");
        let personal = stats.last_headers.contains_key("x-user-id");
        let allowed = backend == Backend::User;
        assert!(allowed || !personal, "seed {seed}: identity at {backend}");
    }
    log
}

async fn ask(town: &Town, struck: &BTreeSet<&str>, seed: u64, n: u64, begun: Instant) -> Event {
    let mut draw = Draw::of(seed, "client", n);
    let (gateway, path, deadline) = draw.one(&PAGES);
    let asker = draw.one(&ASKERS);
    sleep(draw.millis(3000)).await;
    let at = Instant::now();
    let mut request = request(town, gateway, path, asker);
    let mut budget = deadline;
    if draw.chance(30) {
        budget = 50 + draw.below(1500);
        request = request.header("request-timeout", budget);
    }
    let request = request.body(Empty::new()).unwrap();
    let patience = if draw.chance(20) {
        draw.millis(500)
    } else {
        Duration::from_secs(60)
    };
    let answer = timeout(patience, fetch(town, request)).await.ok();
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
        event.lies = lies(&body, &sections, (path, asker), &|source| {
            hurried || broken(source)
        });
        event.sections = sections;
    }
    event
}

/// A request for a page, with the asker's credential.
fn request(town: &Town, gateway: &str, path: &str, asker: &str) -> http::request::Builder {
    let request = Request::get(format!("http://{}{path}", authority(gateway)));
    if gateway == "partner" {
        request.header("x-api-key", fleet::PARTNER_KEY)
    } else if let Some(token) = town.mocks.token_for(asker) {
        request.header("authorization", format!("Bearer {token}"))
    } else {
        request
    }
}

/// Status, `Sections` and body, on a connection of its own.
async fn fetch(town: &Town, request: Request<Empty<Bytes>>) -> (u16, String, Bytes) {
    let client: Client<Dial, Empty<Bytes>> = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .build(Dial::new(town.net.clone(), Duration::from_secs(1)));
    let (head, body) = client.request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let sections = head.headers.get("sections");
    let sections = sections.map(|s| s.to_str().unwrap().to_owned());
    (head.status.as_u16(), sections.unwrap_or_default(), body)
}

/// What an answer says that is not so.
fn lies(
    body: &Value,
    header: &str,
    (path, asker): (&'static str, &'static str),
    excused: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let healthy = &HEALTHY[&(path, asker)];
    let mut lies = Vec::new();
    let mut lost = false;
    for (name, told) in body["_meta"]["sections"].as_object().unwrap() {
        let state = told["state"].as_str().unwrap();
        let source = told["source"].as_str().unwrap_or_default();
        let (told_of, truth) = (member(body, name), member(healthy, name));
        match state {
            "fresh" if told_of != truth => {
                lies.push(format!("{name} is fresh and {told_of:?}, not {truth:?}"));
            }
            "fresh" => {}
            "missing" => {
                lost |= told["reason"] != "not_found";
                if told_of.is_some_and(|value| !value.is_null()) {
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

/// What a section's name stands for: a member, or (`rows.<id>`) one entry of a list.
fn member<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    match name.split_once('.') {
        None => body.get(name),
        Some((list, id)) => body[list].as_array()?.iter().find(|row| row["id"] == id),
    }
}
