//! A set that plays, on a clock that is not waited for: how its stream goes on, and how it ends.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use services_mock::{Backend, Fault, Mode};
use tokio::time::{Instant, sleep};

use crate::sim_fleet::{Plan, SimFleet, simulated};

/// A town whose only gateway is the tv's, with less patience for clients who take nothing than is between two beats.
fn town() -> SimFleet {
    town_with(|_| {
        let streams = "[upstreams.playback.bulkhead]\nmax_streams = 2\n";
        format!("[server]\nwrite_timeout = \"5s\"\n{streams}")
    })
}

fn town_with(also: fn(&fleet::Gateway) -> String) -> SimFleet {
    SimFleet::start(Plan {
        seed: 1,
        only: Some("tv"),
        frail: false,
        also,
    })
}

fn asked(town: &SimFleet, path: &str, body: Option<&Value>) -> Request<Full<Bytes>> {
    let request = Request::builder()
        .uri(path)
        .method(if body.is_some() { "POST" } else { "GET" })
        .header("host", "tv")
        .header("content-type", "application/json")
        .header(
            "authorization",
            format!("Bearer {}", town.mocks.token_for("ada").unwrap()),
        );
    let body = body.map(Value::to_string).unwrap_or_default();
    request.body(Full::from(body)).unwrap()
}

/// Ada's set begins to play.
async fn play(town: &SimFleet, title: &str, position_s: u64) -> Response<Incoming> {
    let path = format!("/v1/titles/{title}/playing");
    let request = asked(town, &path, Some(&json!({"positionS": position_s})));
    town.open("tv", request).await.unwrap()
}

/// The next event of a stream: its name and data.
async fn event(stream: &mut Response<Incoming>) -> Option<(String, Value)> {
    let piece = stream.frame().await?.unwrap().into_data().unwrap();
    let text = std::str::from_utf8(&piece).unwrap().trim_end();
    let (name, data) = text.split_once('\n').unwrap();
    let data = data.strip_prefix("data: ").unwrap();
    Some((
        name.strip_prefix("event: ").unwrap().to_owned(),
        serde_json::from_str(data).unwrap(),
    ))
}

/// The title that ada watched last: its id, how far she has come, and how long it is.
async fn latest(town: &SimFleet) -> (String, u64, u64) {
    let path = "/v1/browse?fields=continueWatching";
    let answer = town.ask("tv", asked(town, path, None)).await.unwrap();
    let page: Value = serde_json::from_slice(answer.body()).unwrap();
    let latest = &page["continueWatching"][0];
    let number = |member: &str| latest[member].as_u64().unwrap();
    let id = latest["id"].as_str().unwrap().to_owned();
    (id, number("positionS"), number("durationS"))
}

/// What goes on at the playback backend, once it has heard of every hang-up.
async fn under_way(town: &SimFleet) -> u64 {
    sleep(Duration::from_millis(50)).await;
    town.mocks.stats(Backend::Playback).in_flight
}

#[test]
fn a_set_that_plays_to_the_end_ends_well() {
    simulated(async {
        let town = town();
        let (title, _, duration) = latest(&town).await;
        let from = duration - 14;
        let mut playing = play(&town, &title, from).await;
        for position in [from, from + 10] {
            let (name, beat) = event(&mut playing).await.unwrap();
            let told = json!({"positionS": position, "keepPlaying": true, "nextInS": 10});
            assert_eq!((name.as_str(), beat), ("beat", told));
        }
        assert_eq!(event(&mut playing).await, None, "no problem");
        assert_eq!(latest(&town).await, (title, from + 10, duration));
        assert_eq!(under_way(&town).await, 0);
    });
}

#[test]
fn a_stream_ends_after_an_hour_so_that_its_credential_is_looked_at_again() {
    simulated(async {
        let town = town();
        // A title that is longer than that.
        let (title, ..) = latest(&town).await;
        let mut playing = play(&town, &title, 0).await;
        let began = Instant::now();
        let (mut beats, mut last) = (0, Value::Null);
        while let Some((name, beat)) = event(&mut playing).await {
            assert_eq!(name, "beat", "{beat}");
            (beats, last) = (beats + 1, beat);
        }
        let hour = Duration::from_secs(60 * 60);
        let took = began.elapsed();
        assert!(
            took >= hour && took < hour + Duration::from_secs(15),
            "{took:?}"
        );
        assert_eq!((beats, &last["positionS"]), (361, &3600.into()));
        assert_eq!(under_way(&town).await, 0);
    });
}

#[test]
fn a_backend_that_never_begins_is_waited_for_no_longer_than_the_deadline() {
    simulated(async {
        let town = town();
        let (title, ..) = latest(&town).await;
        let hang = Fault::mode(Mode::Hang);
        town.mocks.set_fault(Backend::Playback, hang).unwrap();
        let began = Instant::now();
        let answer = play(&town, &title, 0).await;
        let took = began.elapsed();
        let deadline = Duration::from_secs(3);
        assert!(took <= deadline + Duration::from_millis(50), "{took:?}");
        assert_eq!(answer.status(), 504);
        let problem = answer.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&problem).unwrap();
        assert_eq!(problem["code"], "outcome_unknown");
        assert_eq!(under_way(&town).await, 0, "hung up");
    });
}

#[test]
fn sets_that_play_take_no_place_from_those_who_ask() {
    simulated(async {
        let town = town();
        let (title, _, duration) = latest(&town).await;
        let mut playing = Vec::new();
        for _ in 0..2 {
            let mut one = play(&town, &title, 1).await;
            event(&mut one).await.unwrap();
            playing.push(one);
        }
        let third = play(&town, &title, 1).await;
        assert_eq!(third.status(), 503);
        let path = format!("/v1/titles/{title}/heartbeat");
        let beat = asked(&town, &path, Some(&json!({"positionS": 5})));
        assert_eq!(town.ask("tv", beat).await.unwrap().status(), 200);
        assert_eq!(latest(&town).await, (title.clone(), 5, duration));
        playing.pop();
        assert_eq!(under_way(&town).await, 1);
        assert_eq!(play(&town, &title, 1).await.status(), 200);
    });
}

/// A gateway that works on one request at a time, and holds two streams beside it.
#[test]
fn a_stream_holds_a_slot_of_its_own_and_none_of_those_who_ask() {
    simulated(async {
        let town = town_with(|_| {
            let one = "[inbound.load_shedding.concurrency_limit]\nmin = 1\ninitial = 1\nmax = 1\n";
            format!("[inbound.load_shedding]\nmax_streams = 2\n{one}")
        });
        let (title, ..) = latest(&town).await;
        let mut playing = Vec::new();
        for _ in 0..2 {
            let mut one = play(&town, &title, 1).await;
            event(&mut one).await.unwrap();
            playing.push(one);
        }
        assert_eq!(play(&town, &title, 1).await.status(), 503);
        sleep(Duration::from_secs(600)).await;
        latest(&town).await;
        assert_eq!(under_way(&town).await, 2);
        playing.pop();
        assert_eq!(under_way(&town).await, 1);
        assert_eq!(play(&town, &title, 1).await.status(), 200);
    });
}
