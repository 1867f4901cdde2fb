//! The playback event stream of tv, with a paused clock: its events and its ends.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use services_mock::{Backend, Fault, Mode};
use tokio::time::{Instant, sleep};

use crate::sim_fleet::{SimFleet, SimOptions, run_simulated};

/// Starts tv only, with a write timeout that is shorter than the time between two heartbeats.
fn start() -> SimFleet {
    start_with(|_| {
        let streams = "[upstreams.playback.bulkhead]\nmax_streams = 2\n";
        format!("[server]\nwrite_timeout = \"5s\"\n{streams}")
    })
}

fn start_with(extra_config: fn(&fleet::Gateway) -> String) -> SimFleet {
    SimFleet::start(SimOptions {
        seed: 1,
        only_gateway: Some("tv"),
        network_faults: false,
        extra_config: Box::new(extra_config),
    })
}

fn request(fleet: &SimFleet, path: &str, body: Option<&Value>) -> Request<Full<Bytes>> {
    let request = Request::builder()
        .uri(path)
        .method(if body.is_some() { "POST" } else { "GET" })
        .header("host", "tv")
        .header("content-type", "application/json")
        .header(
            "authorization",
            format!("Bearer {}", fleet.mocks.token_for("ada").unwrap()),
        );
    let body = body.map(Value::to_string).unwrap_or_default();
    request.body(Full::from(body)).unwrap()
}

/// Opens the event stream of a title as ada.
async fn start_playback(fleet: &SimFleet, title: &str, position_s: u64) -> Response<Incoming> {
    let path = format!("/v1/titles/{title}/playing");
    let request = request(fleet, &path, Some(&json!({"positionS": position_s})));
    fleet.send_streaming("tv", request).await.unwrap()
}

/// Reads the next event of a stream: its name and data.
async fn next_event(stream: &mut Response<Incoming>) -> Option<(String, Value)> {
    let chunk = stream.frame().await?.unwrap().into_data().unwrap();
    let text = std::str::from_utf8(&chunk).unwrap().trim_end();
    let (name, data) = text.split_once('\n').unwrap();
    let data = data.strip_prefix("data: ").unwrap();
    Some((
        name.strip_prefix("event: ").unwrap().to_owned(),
        serde_json::from_str(data).unwrap(),
    ))
}

/// The title that ada watched last: its id, her position and its duration in seconds.
async fn latest_title(fleet: &SimFleet) -> (String, u64, u64) {
    let path = "/v1/browse?fields=continueWatching";
    let response = fleet.send("tv", request(fleet, path, None)).await.unwrap();
    let page: Value = serde_json::from_slice(response.body()).unwrap();
    let latest = &page["continueWatching"][0];
    let number = |member: &str| latest[member].as_u64().unwrap();
    let id = latest["id"].as_str().unwrap().to_owned();
    (id, number("positionS"), number("durationS"))
}

/// The calls in progress at the playback backend, after every disconnect has arrived there.
async fn in_flight(fleet: &SimFleet) -> u64 {
    sleep(Duration::from_millis(50)).await;
    fleet.mocks.stats(Backend::Playback).in_flight
}

#[test]
fn the_stream_ends_at_the_end_of_the_title() {
    run_simulated(async {
        let fleet = start();
        let (title, _, duration) = latest_title(&fleet).await;
        let from = duration - 14;
        let mut playing = start_playback(&fleet, &title, from).await;
        for position in [from, from + 10] {
            let (name, beat) = next_event(&mut playing).await.unwrap();
            let expected = json!({"positionS": position, "keepPlaying": true, "nextInS": 10});
            assert_eq!((name.as_str(), beat), ("beat", expected));
        }
        let end = next_event(&mut playing).await;
        assert_eq!(end, None, "the stream ends without a problem event");
        assert_eq!(latest_title(&fleet).await, (title, from + 10, duration));
        assert_eq!(in_flight(&fleet).await, 0);
    });
}

#[test]
fn a_stream_ends_after_an_hour_so_that_the_client_authenticates_again() {
    run_simulated(async {
        let fleet = start();
        // This title is longer than an hour.
        let (title, ..) = latest_title(&fleet).await;
        let mut playing = start_playback(&fleet, &title, 0).await;
        let started = Instant::now();
        let (mut beats, mut last) = (0, Value::Null);
        while let Some((name, beat)) = next_event(&mut playing).await {
            assert_eq!(name, "beat", "{beat}");
            (beats, last) = (beats + 1, beat);
        }
        let hour = Duration::from_secs(60 * 60);
        let elapsed = started.elapsed();
        assert!(
            elapsed >= hour && elapsed < hour + Duration::from_secs(15),
            "{elapsed:?}"
        );
        assert_eq!((beats, &last["positionS"]), (361, &3600.into()));
        assert_eq!(in_flight(&fleet).await, 0);
    });
}

#[test]
fn a_backend_that_never_responds_fails_at_the_deadline() {
    run_simulated(async {
        let fleet = start();
        let (title, ..) = latest_title(&fleet).await;
        let hang = Fault::mode(Mode::Hang);
        fleet.mocks.set_fault(Backend::Playback, hang).unwrap();
        let started = Instant::now();
        let response = start_playback(&fleet, &title, 0).await;
        let elapsed = started.elapsed();
        let deadline = Duration::from_secs(3);
        assert!(
            elapsed <= deadline + Duration::from_millis(50),
            "{elapsed:?}"
        );
        assert_eq!(response.status(), 504);
        let problem = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&problem).unwrap();
        assert_eq!(problem["code"], "outcome_unknown");
        assert_eq!(in_flight(&fleet).await, 0, "the call was cancelled");
    });
}

#[test]
fn streams_use_no_call_permit() {
    run_simulated(async {
        let fleet = start();
        let (title, _, duration) = latest_title(&fleet).await;
        let mut playing = Vec::new();
        for _ in 0..2 {
            let mut one = start_playback(&fleet, &title, 1).await;
            next_event(&mut one).await.unwrap();
            playing.push(one);
        }
        let third = start_playback(&fleet, &title, 1).await;
        assert_eq!(third.status(), 503);
        let path = format!("/v1/titles/{title}/heartbeat");
        let beat = request(&fleet, &path, Some(&json!({"positionS": 5})));
        assert_eq!(fleet.send("tv", beat).await.unwrap().status(), 200);
        assert_eq!(latest_title(&fleet).await, (title.clone(), 5, duration));
        playing.pop();
        assert_eq!(in_flight(&fleet).await, 1);
        assert_eq!(start_playback(&fleet, &title, 1).await.status(), 200);
    });
}

/// The gateway permits one request and two streams at a time.
#[test]
fn a_stream_uses_a_stream_permit_and_no_concurrency_permit() {
    run_simulated(async {
        let fleet = start_with(|_| {
            let limit = "[inbound.load_shedding.concurrency_limit]\nmin = 1\nmax = 1\n";
            format!("[inbound.load_shedding]\nmax_streams = 2\n{limit}")
        });
        let (title, ..) = latest_title(&fleet).await;
        let mut playing = Vec::new();
        for _ in 0..2 {
            let mut one = start_playback(&fleet, &title, 1).await;
            next_event(&mut one).await.unwrap();
            playing.push(one);
        }
        assert_eq!(start_playback(&fleet, &title, 1).await.status(), 503);
        sleep(Duration::from_secs(600)).await;
        latest_title(&fleet).await;
        assert_eq!(in_flight(&fleet).await, 2);
        playing.pop();
        assert_eq!(in_flight(&fleet).await, 1);
        assert_eq!(start_playback(&fleet, &title, 1).await.status(), 200);
    });
}
