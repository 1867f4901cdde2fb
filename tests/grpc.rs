//! What holds of a backend that speaks gRPC: the same policy as of any other.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use services_mock::{Backend, Fault};

use crate::support::TestFleet;
use crate::support::instance::Instance;

mod tls;

/// A screen that cannot be without its one gRPC call.
const PAGE: &str = "/api/products/p-1/playback";

/// A shop whose web and tv ask these instances.
pub(crate) async fn shop_of(instances: &[&Instance]) -> TestFleet {
    let addresses = instances
        .iter()
        .map(|i| format!("{{ address = \"{}\" }}", i.address));
    let addresses: Vec<_> = addresses.collect();
    let discovery = format!(
        "[upstreams.playback.discovery]\nendpoints = [{}]\n",
        addresses.join(", ")
    );
    TestFleet::start_with(|fleet| {
        for gateway in ["web", "tv"] {
            fleet.overlays.insert(gateway.into(), discovery.clone());
        }
    })
    .await
}

#[tokio::test]
async fn both_of_two_instances_are_used_and_no_answer_is_lost_when_one_dies() {
    let (one, other) = (
        Instance::start(Backend::Playback).await,
        Instance::start(Backend::Playback).await,
    );
    let fleet = shop_of(&[&one, &other]).await;
    let ask = |count: u32| {
        let asking = stream::iter(0..count).map(|_| fleet.get("web", PAGE));
        asking
            .buffer_unordered(4)
            .map(|page| page.status.as_u16())
            .collect::<Vec<_>>()
    };
    let before = ask(40).await;
    assert_eq!(before, [200; 40]);
    let (first, second) = (one.stats().calls, other.stats().calls);
    assert!(first >= 5 && second >= 5, "{first} and {second}");
    // In the middle of things.
    let killing = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        one.crash().await;
    };
    let (during, ()) = tokio::join!(ask(200), killing);
    assert_eq!(during, [200; 200]);
    let survived = other.stats().calls;
    assert_eq!(ask(40).await, [200; 40]);
    assert!(
        other.stats().calls >= survived + 40,
        "the one that lives answers"
    );
}

#[tokio::test]
async fn a_call_says_how_long_it_may_take_and_who_asks_what_is_the_callers() {
    let fleet = TestFleet::start().await;
    let ada = fleet.bearer("ada");
    let seen = || fleet.running.mocks().stats(Backend::Playback).last_headers;
    let headers = [
        ("authorization", ada.as_str()),
        ("x-request-id", "r-1"),
        ("request-timeout", "700"),
        ("priority", "u=6"),
    ];
    fleet
        .get_with("tv", "/v1/titles/p-1?fields=title,manifest", &headers)
        .await;
    let public = seen();
    assert_eq!(public["x-request-id"], "r-1");
    assert_eq!(public["x-client"], "tv");
    assert_eq!(public["priority"], "u=6");
    assert!(public.contains_key("traceparent"));
    assert!(
        !public.contains_key("x-user-id"),
        "nobody asks for a manifest"
    );
    // Of 700 ms; gRPC gives a number and its unit.
    let (time, unit) = public["grpc-timeout"].split_at(public["grpc-timeout"].len() - 1);
    let millis = time.parse::<u64>().unwrap()
        / match unit {
            "n" => 1_000_000,
            "u" => 1000,
            _ => 1,
        };
    assert!((300..700).contains(&millis), "{millis}");
    fleet
        .get_with("tv", "/v1/browse?fields=continueWatching", &headers)
        .await;
    assert_eq!(seen()["x-user-id"], "ada");
}

#[tokio::test]
async fn unavailable_is_tried_again_and_nothing_else() {
    let fleet = TestFleet::start().await;
    for (status, answered, calls) in [
        (503, 200, 2),
        (500, 502, 1),
        (429, 503, 1),
        (404, 404, 1),
        (504, 504, 1),
    ] {
        let mocks = fleet.running.mocks();
        mocks.clear_stats();
        mocks
            .set_fault(Backend::Playback, Fault::status(status).times(1))
            .unwrap();
        let page = fleet.get("web", PAGE).await;
        mocks.clear_faults(None);
        let seen = mocks.stats(Backend::Playback).calls;
        assert_eq!((page.status.as_u16(), seen), (answered, calls), "{status}");
    }
}
