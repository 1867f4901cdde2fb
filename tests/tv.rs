//! The tv's own: a hero and rows, each row for itself, and what to fetch ahead.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use services_mock::{Backend, Fault, Mode};

use crate::support::instance::Instance;
use crate::support::{TestFleet, send, wait_until};

const PAGE: &str = "/v1/titles/p-1";

#[tokio::test]
async fn a_title_fills_a_big_screen() {
    let fleet = TestFleet::start().await;
    let page = fleet.get("tv", PAGE).await;
    assert_eq!(
        page.members("title"),
        [
            "id",
            "kind",
            "name",
            "subtitle",
            "description",
            "backdrop",
            "genres",
            "seasons",
            "maturity",
            "cast",
            "director"
        ]
    );
    let backdrop = page.body["title"]["backdrop"].as_str().unwrap();
    assert!(backdrop.ends_with("w=1920"), "{backdrop}");
    assert_eq!(page.members("rating"), ["average", "count"]);
    let lost = Fault::status(500).on("/products/p-1/similar");
    fleet
        .loses_only(("tv", PAGE), &[], "similar", (Backend::Product, lost))
        .await;
}

#[tokio::test]
async fn what_has_the_focus_can_be_fetched_ahead() {
    let fleet = TestFleet::start().await;
    let browse = fleet.get("tv", "/v1/browse").await;
    let rows = browse.body["rows"].as_array().unwrap();
    let tiles = rows.iter().map(|row| &row["items"][0]);
    for tile in tiles.chain([&browse.body["hero"]]) {
        let title = fleet.get("tv", tile["focus"].as_str().unwrap()).await;
        assert_eq!(title.body["title"]["id"], tile["id"]);
    }
}

#[tokio::test]
async fn a_row_that_fails_is_left_out_and_told() {
    let fleet = TestFleet::start().await;
    let whole = fleet.get("tv", "/v1/browse").await;
    let rows = whole.body["rows"].as_array().unwrap();
    let lost = rows[0]["id"].as_str().unwrap();
    let fault = Fault::status(503).on(format!("/collections/{lost}"));
    let mocks = fleet.running.mocks();
    mocks.set_fault(Backend::Product, fault).unwrap();
    let page = fleet.get("tv", "/v1/browse").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.section(&format!("rows.{lost}"))["state"], "missing");
    assert_eq!(page.body["rows"].as_array().unwrap()[..], rows[1..]);
    let sections = page.header("sections");
    assert!(
        sections.contains(&format!("rows.{lost}=missing")),
        "{sections}"
    );
    // Without its hero there is no screen.
    mocks.clear_faults(None);
    let fault = Fault::status(503).on("/collections/featured");
    mocks.set_fault(Backend::Product, fault).unwrap();
    assert_eq!(fleet.get("tv", "/v1/browse").await.status, 503);
}

#[tokio::test]
async fn each_class_of_set_is_given_what_it_plays() {
    let fleet = TestFleet::start().await;
    for (query, lines, codecs, drm) in [
        (
            "?device=tv-uhd",
            2160,
            &["av01", "hev1", "avc1"][..],
            "widevine",
        ),
        ("?device=tv-hd", 1080, &["hev1", "avc1"], "playready"),
        ("?device=tv-basic", 720, &["avc1"], "playready"),
        ("", 1080, &["hev1", "avc1"], "playready"),
    ] {
        let page = fleet.get("tv", &format!("{PAGE}{query}")).await;
        let manifest = &page.body["manifest"];
        assert_eq!(page.section("manifest")["source"], "playback");
        assert_eq!(
            (&manifest["maxHeight"], &manifest["drm"]),
            (&lines.into(), &drm.into())
        );
        assert_eq!(manifest["codecs"], json!(codecs));
        let streams = manifest["streams"].as_array().unwrap();
        let of = |s: &Value| {
            (
                s["height"].as_u64().unwrap(),
                s["codec"].as_str().unwrap().to_owned(),
            )
        };
        let told: Vec<_> = streams.iter().map(of).collect();
        let heights = [2160, 1080, 720, 480]
            .into_iter()
            .filter(|height| *height <= lines);
        let wanted = heights.flat_map(|h| codecs.iter().map(move |c| (h, (*c).to_owned())));
        assert_eq!(told, wanted.collect::<Vec<_>>(), "{query}");
    }
    let fridge = fleet.get("tv", &format!("{PAGE}?device=fridge")).await;
    assert_eq!(
        (fridge.status.as_u16(), &fridge.body["errors"][0]["pointer"]),
        (422, &"/query/device".into())
    );
    let phone = fleet.get("tv", &format!("{PAGE}?device=phone")).await;
    assert_eq!(phone.status, 422, "no set");
}

#[tokio::test]
async fn without_its_manifest_a_title_is_still_a_title() {
    let fleet = TestFleet::start().await;
    for fault in [
        Fault::status(500),
        Fault::mode(Mode::Reset),
        Fault::mode(Mode::Malformed),
    ] {
        fleet
            .loses_only(("tv", PAGE), &[], "manifest", (Backend::Playback, fault))
            .await;
    }
    let ada = fleet.bearer("ada");
    let ada = [("authorization", ada.as_str())];
    let lost = (Backend::Playback, Fault::status(503));
    fleet
        .loses_only(("tv", "/v1/browse"), &ada, "continueWatching", lost)
        .await;
}

/// Posts a set's position as a user.
async fn post(fleet: &TestFleet, user: &str, path: &str, position: &Value) -> Response {
    let url = format!("{}/v1/titles/{path}", fleet.running.url("tv"));
    let request = fleet.http.post(url).json(position);
    send(request.header("authorization", fleet.bearer(user))).await
}

async fn problem(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    (status, response.json::<Value>().await.unwrap())
}

/// What a user began, as (id, position).
async fn began(fleet: &TestFleet, user: &str) -> Vec<(String, u64)> {
    let bearer = fleet.bearer(user);
    let headers = [("authorization", bearer.as_str())];
    let browse = fleet
        .get_with("tv", "/v1/browse?fields=continueWatching", &headers)
        .await;
    assert!(
        browse.header("cache-control").starts_with("private"),
        "{:?}",
        browse.headers
    );
    assert_eq!(
        browse.section("continueWatching")["source"],
        "playback, product"
    );
    let entries = browse.body["continueWatching"].as_array().unwrap().iter();
    let entry = |e: &Value| {
        (
            e["id"].as_str().unwrap().to_owned(),
            e["positionS"].as_u64().unwrap(),
        )
    };
    entries.map(entry).collect()
}

#[tokio::test]
async fn a_position_said_once_is_where_to_go_on() {
    let fleet = TestFleet::start().await;
    let (ada, ben) = (began(&fleet, "ada").await, began(&fleet, "ben").await);
    let said = post(&fleet, "ada", "p-7/heartbeat", &json!({"positionS": 61})).await;
    assert_eq!(said.status(), 200);
    let told: Value = said.json().await.unwrap();
    assert_eq!(
        told,
        json!({"positionS": 61, "keepPlaying": true, "nextInS": 10})
    );
    let now = began(&fleet, "ada").await;
    assert_eq!(now[0], ("p-7".to_owned(), 61));
    let others = ada.into_iter().filter(|(id, _)| id != "p-7");
    assert!(
        now[1..].iter().cloned().eq(others.take(now.len() - 1)),
        "{now:?}"
    );
    assert_eq!(began(&fleet, "ben").await, ben, "nobody else's changed");
    let nobody = fleet.get("tv", "/v1/browse").await;
    assert!(nobody.body["continueWatching"].is_null());
    assert!(
        nobody.section("continueWatching").is_null(),
        "it does not apply"
    );
    // A title that left the catalogue: the set learns to stop.
    let gone = post(&fleet, "ada", "p-999/heartbeat", &json!({"positionS": 1})).await;
    assert_eq!(gone.json::<Value>().await.unwrap()["keepPlaying"], false);
}

#[tokio::test]
async fn a_beat_is_done_refused_or_unknown() {
    let fleet = TestFleet::start_without_circuit_breakers().await;
    let before = began(&fleet, "ada").await;
    let url = format!("{}/v1/titles/p-7/heartbeat", fleet.running.url("tv"));
    let unsigned = send(fleet.http.post(url).json(&json!({"odd": 1}))).await;
    let (status, body) = problem(unsigned).await;
    assert_eq!(
        (status.as_u16(), &body["code"]),
        (401, &"unauthenticated".into())
    );
    for (bad, pointer) in [
        (json!({"positionS": -1}), "/positionS"),
        (json!({"positionS": 86_401}), "/positionS"),
        (json!({}), "/positionS"),
        (json!({"positionS": 1, "odd": 1}), "/odd"),
    ] {
        for door in ["p-7/heartbeat", "p-7/playing"] {
            let (status, body) = problem(post(&fleet, "ada", door, &bad).await).await;
            assert_eq!(
                (status.as_u16(), &body["errors"][0]["pointer"]),
                (422, &pointer.into()),
                "{bad}"
            );
        }
    }
    let (status, body) = problem(
        post(
            &fleet,
            "ada",
            "p-7/heartbeat",
            &json!({"positionS": 86_400}),
        )
        .await,
    )
    .await;
    assert_eq!(
        (status.as_u16(), &body["code"]),
        (422, &"validation_failed".into()),
        "past the end"
    );
    assert_eq!(began(&fleet, "ada").await, before, "nothing changed");
    for (fault, code) in [
        (Fault::mode(Mode::Hang), "outcome_unknown"),
        (Fault::mode(Mode::Malformed), "outcome_unknown"),
        (Fault::status(500), "outcome_unknown"),
        (Fault::status(503), "unavailable"),
    ] {
        fleet
            .running
            .mocks()
            .set_fault(Backend::Playback, fault)
            .unwrap();
        let said = post(&fleet, "ada", "p-7/heartbeat", &json!({"positionS": 5})).await;
        assert!(!said.headers()["retry-after"].is_empty());
        let (status, body) = problem(said).await;
        let wanted = if code == "unavailable" { 503 } else { 504 };
        assert_eq!((status.as_u16(), &body["code"]), (wanted, &code.into()));
    }
}

#[tokio::test]
async fn a_beat_arrives_although_the_set_hangs_up() {
    let fleet = TestFleet::start().await;
    let mocks = fleet.running.mocks();
    let slow = Fault::latency(Duration::from_millis(300));
    mocks.set_fault(Backend::Playback, slow).unwrap();
    let position = json!({"positionS": 77});
    let saying = post(&fleet, "ada", "p-9/heartbeat", &position);
    let left = tokio::time::timeout(Duration::from_millis(150), saying).await;
    assert!(left.is_err(), "it hung up first");
    assert_eq!(mocks.stats(Backend::Playback).in_flight, 1);
    wait_until(|| mocks.stats(Backend::Playback).in_flight == 0).await;
    assert_eq!(mocks.stats(Backend::Playback).cancelled, 0);
    mocks.clear_faults(None);
    assert_eq!(began(&fleet, "ada").await[0], ("p-9".to_owned(), 77));
}

/// The next event of a stream: its name and data.
async fn event(stream: &mut Response) -> Option<(String, Value)> {
    let chunk = stream.chunk().await.unwrap()?;
    let text = std::str::from_utf8(&chunk).unwrap().trim_end();
    let (name, data) = text.split_once('\n').unwrap();
    let data = data.strip_prefix("data: ").unwrap();
    Some((
        name.strip_prefix("event: ").unwrap().to_owned(),
        serde_json::from_str(data).unwrap(),
    ))
}

#[tokio::test]
async fn while_a_set_plays_its_position_is_kept_and_hanging_up_ends_it() {
    let fleet = TestFleet::start().await;
    let mocks = fleet.running.mocks();
    let mut playing = post(&fleet, "ada", "p-8/playing", &json!({"positionS": 120})).await;
    assert_eq!(playing.status(), 200);
    assert_eq!(playing.headers()["content-type"], "text/event-stream");
    assert_eq!(playing.headers()["cache-control"], "no-store");
    let (name, beat) = event(&mut playing).await.unwrap();
    assert_eq!(name, "beat");
    assert_eq!(
        beat,
        json!({"positionS": 120, "keepPlaying": true, "nextInS": 10})
    );
    let told = mocks.stats(Backend::Playback);
    assert_eq!(
        (told.in_flight, told.last_headers["x-user-id"].as_str()),
        (1, "ada")
    );
    assert!(
        !told.last_headers.contains_key("grpc-timeout"),
        "it has no end"
    );
    assert_eq!(began(&fleet, "ada").await[0], ("p-8".to_owned(), 120));
    // Past the request's deadline, which is three seconds, the next beat comes in its time.
    let (_, beat) = event(&mut playing).await.unwrap();
    let position = beat["positionS"].as_u64().unwrap();
    assert!((129..=132).contains(&position), "{position}");
    assert_eq!(began(&fleet, "ada").await[0], ("p-8".to_owned(), position));
    assert_eq!(mocks.stats(Backend::Playback).in_flight, 1);
    drop(playing);
    wait_until(|| mocks.stats(Backend::Playback).in_flight == 0).await;
    assert_eq!(mocks.stats(Backend::Playback).cancelled, 1);
}

#[tokio::test]
async fn a_stream_that_ends_says_why() {
    let fleet = TestFleet::start().await;
    // Told to stop.
    let mut playing = post(&fleet, "ada", "p-999/playing", &json!({"positionS": 1})).await;
    let (name, beat) = event(&mut playing).await.unwrap();
    assert_eq!(
        (name.as_str(), &beat["keepPlaying"]),
        ("beat", &false.into())
    );
    assert_eq!(event(&mut playing).await, None);
    // Refused after its head: the backend answers a position in its stream.
    let mut playing = post(&fleet, "ada", "p-7/playing", &json!({"positionS": 86_400})).await;
    assert_eq!(playing.status(), 200);
    let (name, problem) = event(&mut playing).await.unwrap();
    assert_eq!(
        (name.as_str(), &problem["code"]),
        ("problem", &"validation_failed".into())
    );
    assert_eq!(event(&mut playing).await, None);
    // Refused before it: an answer like any other.
    fleet
        .running
        .mocks()
        .set_fault(Backend::Playback, Fault::status(503))
        .unwrap();
    let refused = post(&fleet, "ada", "p-7/playing", &json!({"positionS": 1})).await;
    assert_eq!(refused.status(), 503);
}

#[tokio::test]
async fn a_stream_whose_backend_dies_says_that() {
    let one = Instance::start(Backend::Playback).await;
    let fleet = crate::grpc::shop_of(&[&one]).await;
    let mut playing = post(&fleet, "ada", "p-8/playing", &json!({"positionS": 1})).await;
    event(&mut playing).await.unwrap();
    one.crash().await;
    let soon = tokio::time::timeout(Duration::from_secs(2), event(&mut playing));
    let (name, problem) = soon.await.unwrap().unwrap();
    assert_eq!(
        (name.as_str(), &problem["code"]),
        ("problem", &"outcome_unknown".into())
    );
    assert_eq!(event(&mut playing).await, None);
}
