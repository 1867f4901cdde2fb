//! gRPC backends get the same policies as HTTP backends.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use services_mock::{Backend, Fault};

use crate::sim_fleet::{SimFleet, SimOptions};
use crate::support::TestFleet;
use crate::support::instance::Instance;

mod tls;

/// A screen that requires its only call, which is over gRPC.
const PAGE: &str = "/api/products/p-1/playback";

/// Starts a fleet in which web and tv use these playback instances.
pub(crate) async fn start_with_instances(instances: &[&Instance]) -> TestFleet {
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
async fn both_instances_are_used_and_a_crash_costs_no_response() {
    let (first_instance, second_instance) = (
        Instance::start(Backend::Playback).await,
        Instance::start(Backend::Playback).await,
    );
    let fleet = start_with_instances(&[&first_instance, &second_instance]).await;
    let send_requests = |count: u32| {
        let requests = stream::iter(0..count).map(|_| fleet.get("web", PAGE));
        requests
            .buffer_unordered(4)
            .map(|page| page.status.as_u16())
            .collect::<Vec<_>>()
    };
    let statuses = send_requests(40).await;
    assert_eq!(statuses, [200; 40]);
    let (first_calls, second_calls) = (first_instance.stats().calls, second_instance.stats().calls);
    assert!(
        first_calls >= 5 && second_calls >= 5,
        "{first_calls} and {second_calls}"
    );
    // The instance crashes during the requests.
    let crash = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        first_instance.crash().await;
    };
    let (statuses_during_crash, ()) = tokio::join!(send_requests(200), crash);
    assert_eq!(statuses_during_crash, [200; 200]);
    let calls = second_instance.stats().calls;
    assert_eq!(send_requests(40).await, [200; 40]);
    assert!(
        second_instance.stats().calls >= calls + 40,
        "the other instance gets every call"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_carries_its_timeout_and_the_callers_identity() {
    let fleet = SimFleet::start(SimOptions {
        seed: 1,
        only_gateway: Some("tv"),
        network_faults: false,
        extra_config: Box::new(|_| String::new()),
    });
    let ada = format!("Bearer {}", fleet.mocks.token_for("ada").unwrap());
    let last_headers = || fleet.mocks.stats(Backend::Playback).last_headers;
    let headers = [
        ("authorization", ada.as_str()),
        ("x-request-id", "r-1"),
        ("request-timeout", "700"),
        ("priority", "u=6"),
    ];
    fleet
        .get_with("tv", "/v1/titles/p-1?fields=title,manifest", &headers)
        .await;
    let public = last_headers();
    assert_eq!(public["x-request-id"], "r-1");
    assert_eq!(public["x-client"], "tv");
    assert_eq!(public["priority"], "u=6");
    assert!(public.contains_key("traceparent"));
    assert!(!public.contains_key("x-user-id"), "a manifest is public");
    // At most the client's 700 ms. gRPC sends a number with a unit.
    let (time, unit) = public["grpc-timeout"].split_at(public["grpc-timeout"].len() - 1);
    let millis = time.parse::<u64>().unwrap()
        / match unit {
            "n" => 1_000_000,
            "u" => 1000,
            _ => 1,
        };
    assert!((600..=700).contains(&millis), "{millis}");
    fleet
        .get_with("tv", "/v1/browse?fields=continueWatching", &headers)
        .await;
    assert_eq!(last_headers()["x-user-id"], "ada");
}

#[tokio::test]
async fn only_unavailable_is_retried() {
    let fleet = TestFleet::start().await;
    for (status, expected, calls) in [
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
        let last_headers = mocks.stats(Backend::Playback).calls;
        assert_eq!(
            (page.status.as_u16(), last_headers),
            (expected, calls),
            "{status}"
        );
    }
}
