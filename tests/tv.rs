//! The tv gateway: the hero and its rows, links for prefetching, device classes, heartbeats and playback streams.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use services_mock::{Backend, Fault, Mode};

use crate::support::instance::Instance;
use crate::support::{TestFleet, send, wait_until};

const PAGE: &str = "/v1/titles/p-1";

#[tokio::test]
async fn a_title_has_large_images_and_all_fields() {
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
    let failed = Fault::status(500).on("/products/p-1/similar");
    fleet
        .assert_loses_only(("tv", PAGE), &[], "similar", (Backend::Product, failed))
        .await;
}

#[tokio::test]
async fn focus_links_lead_to_the_focused_title() {
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
async fn a_failed_row_is_left_out_and_reported() {
    let fleet = TestFleet::start().await;
    let healthy = fleet.get("tv", "/v1/browse").await;
    let rows = healthy.body["rows"].as_array().unwrap();
    let failed = rows[0]["id"].as_str().unwrap();
    let fault = Fault::status(503).on(format!("/collections/{failed}"));
    let mocks = fleet.running.mocks();
    mocks.set_fault(Backend::Product, fault).unwrap();
    let page = fleet.get("tv", "/v1/browse").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.section(&format!("rows.{failed}"))["state"], "missing");
    assert_eq!(page.body["rows"].as_array().unwrap()[..], rows[1..]);
    let sections = page.header("sections");
    assert!(
        sections.contains(&format!("rows.{failed}=missing")),
        "{sections}"
    );
    // The hero is required.
    mocks.clear_faults(None);
    let fault = Fault::status(503).on("/collections/featured");
    mocks.set_fault(Backend::Product, fault).unwrap();
    assert_eq!(fleet.get("tv", "/v1/browse").await.status, 503);
}

#[tokio::test]
async fn each_device_class_gets_the_streams_it_supports() {
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
        let height_and_codec = |s: &Value| {
            (
                s["height"].as_u64().unwrap(),
                s["codec"].as_str().unwrap().to_owned(),
            )
        };
        let actual: Vec<_> = streams.iter().map(height_and_codec).collect();
        let heights = [2160, 1080, 720, 480]
            .into_iter()
            .filter(|height| *height <= lines);
        let expected = heights.flat_map(|h| codecs.iter().map(move |c| (h, (*c).to_owned())));
        assert_eq!(actual, expected.collect::<Vec<_>>(), "{query}");
    }
    let unknown = fleet.get("tv", &format!("{PAGE}?device=fridge")).await;
    assert_eq!(
        (
            unknown.status.as_u16(),
            &unknown.body["errors"][0]["pointer"]
        ),
        (422, &"/query/device".into())
    );
    let phone = fleet.get("tv", &format!("{PAGE}?device=phone")).await;
    assert_eq!(phone.status, 422, "a phone is no TV device class");
}

#[tokio::test]
async fn a_title_without_its_manifest_keeps_the_other_sections() {
    let fleet = TestFleet::start().await;
    for fault in [
        Fault::status(500),
        Fault::mode(Mode::Reset),
        Fault::mode(Mode::Malformed),
    ] {
        fleet
            .assert_loses_only(("tv", PAGE), &[], "manifest", (Backend::Playback, fault))
            .await;
    }
    let ada = fleet.bearer("ada");
    let ada = [("authorization", ada.as_str())];
    let failed = (Backend::Playback, Fault::status(503));
    fleet
        .assert_loses_only(("tv", "/v1/browse"), &ada, "continueWatching", failed)
        .await;
}

/// Posts a position as a user.
async fn post(fleet: &TestFleet, user: &str, path: &str, position: &Value) -> Response {
    let url = format!("{}/v1/titles/{path}", fleet.running.url("tv"));
    let request = fleet.http.post(url).json(position);
    send(request.header("authorization", fleet.bearer(user))).await
}

async fn problem(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    (status, response.json::<Value>().await.unwrap())
}

/// The user's titles to continue, as (id, position).
async fn continue_watching(fleet: &TestFleet, user: &str) -> Vec<(String, u64)> {
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
async fn a_heartbeat_sets_the_position_in_continue_watching() {
    let fleet = TestFleet::start().await;
    let (ada, ben) = (
        continue_watching(&fleet, "ada").await,
        continue_watching(&fleet, "ben").await,
    );
    let response = post(&fleet, "ada", "p-7/heartbeat", &json!({"positionS": 61})).await;
    assert_eq!(response.status(), 200);
    let actual: Value = response.json().await.unwrap();
    assert_eq!(
        actual,
        json!({"positionS": 61, "keepPlaying": true, "nextInS": 10})
    );
    let now = continue_watching(&fleet, "ada").await;
    assert_eq!(now[0], ("p-7".to_owned(), 61));
    let others = ada.into_iter().filter(|(id, _)| id != "p-7");
    assert!(
        now[1..].iter().cloned().eq(others.take(now.len() - 1)),
        "{now:?}"
    );
    assert_eq!(
        continue_watching(&fleet, "ben").await,
        ben,
        "another user's position changed"
    );
    let anonymous = fleet.get("tv", "/v1/browse").await;
    assert!(anonymous.body["continueWatching"].is_null());
    assert!(
        anonymous.section("continueWatching").is_null(),
        "the section does not apply to an anonymous caller"
    );
    // The title is not in the catalogue, so playback must stop.
    let removed = post(&fleet, "ada", "p-999/heartbeat", &json!({"positionS": 1})).await;
    assert_eq!(removed.json::<Value>().await.unwrap()["keepPlaying"], false);
}

#[tokio::test]
async fn a_heartbeat_succeeds_is_rejected_or_has_an_unknown_outcome() {
    let fleet = TestFleet::start_without_circuit_breakers().await;
    let before = continue_watching(&fleet, "ada").await;
    let url = format!("{}/v1/titles/p-7/heartbeat", fleet.running.url("tv"));
    let without_credential = send(fleet.http.post(url).json(&json!({"odd": 1}))).await;
    let (status, body) = problem(without_credential).await;
    assert_eq!(
        (status.as_u16(), &body["code"]),
        (401, &"unauthenticated".into())
    );
    for (invalid, pointer) in [
        (json!({"positionS": -1}), "/positionS"),
        (json!({"positionS": 86_401}), "/positionS"),
        (json!({}), "/positionS"),
        (json!({"positionS": 1, "odd": 1}), "/odd"),
    ] {
        for endpoint in ["p-7/heartbeat", "p-7/playing"] {
            let (status, body) = problem(post(&fleet, "ada", endpoint, &invalid).await).await;
            assert_eq!(
                (status.as_u16(), &body["errors"][0]["pointer"]),
                (422, &pointer.into()),
                "{invalid}"
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
        "the position is beyond the end"
    );
    assert_eq!(body["errors"], past_the_end());
    assert_eq!(
        continue_watching(&fleet, "ada").await,
        before,
        "nothing changed"
    );
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
        let response = post(&fleet, "ada", "p-7/heartbeat", &json!({"positionS": 5})).await;
        assert!(!response.headers()["retry-after"].is_empty());
        let (status, body) = problem(response).await;
        let expected = if code == "unavailable" { 503 } else { 504 };
        assert_eq!((status.as_u16(), &body["code"]), (expected, &code.into()));
    }
}

#[tokio::test]
async fn a_heartbeat_completes_after_a_disconnect() {
    let fleet = TestFleet::start().await;
    let mocks = fleet.running.mocks();
    let slow = Fault::latency(Duration::from_millis(500));
    mocks.set_fault(Backend::Playback, slow).unwrap();
    let position = json!({"positionS": 77});
    let request = post(&fleet, "ada", "p-9/heartbeat", &position);
    tokio::select! {
        biased;
        () = wait_until(|| mocks.stats(Backend::Playback).calls == 1) => {}
        _ = request => panic!("the response came before the disconnect"),
    }
    wait_until(|| mocks.stats(Backend::Playback).in_flight == 0).await;
    assert_eq!(mocks.stats(Backend::Playback).cancelled, 0);
    mocks.clear_faults(None);
    assert_eq!(
        continue_watching(&fleet, "ada").await[0],
        ("p-9".to_owned(), 77)
    );
}

/// Reads the next event of a stream: its name and data.
async fn next_event(stream: &mut Response) -> Option<(String, Value)> {
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
async fn a_stream_stores_the_position_and_ends_with_a_disconnect() {
    let fleet = TestFleet::start().await;
    let mocks = fleet.running.mocks();
    let mut stream = post(&fleet, "ada", "p-8/playing", &json!({"positionS": 120})).await;
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.headers()["cache-control"], "no-store");
    let (name, beat) = next_event(&mut stream).await.unwrap();
    assert_eq!(name, "beat");
    assert_eq!(
        beat,
        json!({"positionS": 120, "keepPlaying": true, "nextInS": 10})
    );
    let stats = mocks.stats(Backend::Playback);
    assert_eq!(
        (stats.in_flight, stats.last_headers["x-user-id"].as_str()),
        (1, "ada")
    );
    assert!(
        !stats.last_headers.contains_key("grpc-timeout"),
        "a stream has no deadline"
    );
    let latest = continue_watching(&fleet, "ada").await[0].clone();
    assert_eq!(latest, ("p-8".to_owned(), 120));
    drop(stream);
    wait_until(|| mocks.stats(Backend::Playback).in_flight == 0).await;
    assert_eq!(mocks.stats(Backend::Playback).cancelled, 1);
}

/// The mistakes in a position beyond the end.
fn past_the_end() -> Value {
    json!([{"pointer": "/positionS", "detail": "past the end of the title"}])
}

#[tokio::test]
async fn a_stream_reports_why_it_ends() {
    let fleet = TestFleet::start().await;
    // The backend ends the stream.
    let mut stream = post(&fleet, "ada", "p-999/playing", &json!({"positionS": 1})).await;
    let (name, beat) = next_event(&mut stream).await.unwrap();
    assert_eq!(
        (name.as_str(), &beat["keepPlaying"]),
        ("beat", &false.into())
    );
    assert_eq!(next_event(&mut stream).await, None);
    // The backend rejects the position within its stream, after the gateway has sent the response head.
    let mut stream = post(&fleet, "ada", "p-7/playing", &json!({"positionS": 86_400})).await;
    assert_eq!(stream.status(), 200);
    let (name, problem) = next_event(&mut stream).await.unwrap();
    assert_eq!(
        (name.as_str(), &problem["code"]),
        ("problem", &"validation_failed".into())
    );
    assert_eq!(problem["errors"], past_the_end());
    let page = format!("{}/errors/validation_failed", fleet.running.url("tv"));
    assert_eq!(
        (&problem["type"], &problem["instance"]),
        (&page.into(), &"/v1/titles/p-7/playing".into())
    );
    assert_eq!(next_event(&mut stream).await, None);
    // The backend rejects the call before its stream starts.
    fleet
        .running
        .mocks()
        .set_fault(Backend::Playback, Fault::status(503))
        .unwrap();
    let rejected = post(&fleet, "ada", "p-7/playing", &json!({"positionS": 1})).await;
    assert_eq!(rejected.status(), 503);
}

#[tokio::test]
async fn a_stream_reports_a_crash_of_its_backend() {
    let instance = Instance::start(Backend::Playback).await;
    let fleet = crate::grpc::start_with_instances(&[&instance]).await;
    let mut stream = post(&fleet, "ada", "p-8/playing", &json!({"positionS": 1})).await;
    next_event(&mut stream).await.unwrap();
    instance.crash().await;
    let next = tokio::time::timeout(Duration::from_secs(20), next_event(&mut stream));
    let (name, problem) = next.await.unwrap().unwrap();
    assert_eq!(
        (name.as_str(), &problem["code"]),
        ("problem", &"outcome_unknown".into())
    );
    assert_eq!(next_event(&mut stream).await, None);
}
