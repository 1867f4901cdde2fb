//! Each kind of fault, as a client sees it.

use super::*;
use crate::{Fault, Mode};
use tokio::time::{Instant, timeout};

const REVIEWS: &str = "/reviews?productId=p-1";

fn faulty(fault: Fault) -> Mocks {
    let mocks = mocks();
    mocks.set_fault(Backend::Review, fault).unwrap();
    mocks
}

#[tokio::test(start_paused = true)]
async fn status_and_latency() {
    let mocks = faulty(Fault {
        latency: Some(Duration::from_millis(200)),
        ..Fault::status(503)
    });
    let start = Instant::now();
    let response = get(&mocks, Backend::Review, REVIEWS).await;
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["error"], "fault");
    assert_eq!(start.elapsed().as_millis(), 200);
    mocks.clear_faults(None);
    assert_eq!(get(&mocks, Backend::Review, REVIEWS).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn next_limits_the_number_of_failed_calls() {
    let mocks = faulty(Fault::status(500).times(2));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(get(&mocks, Backend::Review, REVIEWS).await.status.as_u16());
    }
    assert_eq!(statuses, [500, 500, 200]);
}

#[tokio::test(start_paused = true)]
async fn hang_sends_no_response_and_counts_the_cancelled_call() {
    let mocks = faulty(Fault::mode(Mode::Hang));
    let call = send(
        &mocks,
        Backend::Review,
        request("GET /reviews?productId=p-1", &[], ""),
    );
    assert!(timeout(Duration::from_secs(3600), call).await.is_err());
    settle().await;
    let stats = mocks.stats(Backend::Review);
    assert_eq!((stats.calls, stats.cancelled, stats.in_flight), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn reset_drops_the_connection_without_a_response() {
    let mocks = faulty(Fault::mode(Mode::Reset));
    let failed = send(
        &mocks,
        Backend::Review,
        request("GET /reviews?productId=p-1", &[], ""),
    )
    .await;
    assert!(failed.unwrap_err().is_incomplete_message());
    let stats = mocks.stats(Backend::Review);
    assert_eq!((stats.calls, stats.cancelled, stats.in_flight), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn truncate_sends_half_of_the_content_length() {
    let mocks = faulty(Fault::mode(Mode::Truncate));
    let response = send(
        &mocks,
        Backend::Review,
        request("GET /reviews?productId=p-1", &[], ""),
    )
    .await;
    let mut body = response.unwrap().into_body();
    let half = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(half.starts_with(b"{\"items\""));
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn malformed_is_200_with_broken_json() {
    let mocks = faulty(Fault::mode(Mode::Malformed));
    let response = get(&mocks, Backend::Review, REVIEWS).await;
    assert_eq!(
        (response.status.as_u16(), response.header("content-type")),
        (200, "application/json")
    );
    assert!(serde_json::from_slice::<Value>(&response.body).is_err());
}

#[tokio::test(start_paused = true)]
async fn endless_sends_until_the_client_stops() {
    let mocks = faulty(Fault::mode(Mode::Endless));
    let response = send(
        &mocks,
        Backend::Review,
        request("GET /reviews?productId=p-1", &[], ""),
    )
    .await;
    let mut body = response.unwrap().into_body();
    let mut read = 0;
    while read < 5_000_000 {
        read += body
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .len();
    }
    drop(body);
    settle().await;
    let stats = mocks.stats(Backend::Review);
    assert_eq!((stats.cancelled, stats.in_flight), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn gzip_bomb_is_small_on_the_wire() {
    let mocks = faulty(Fault::mode(Mode::GzipBomb));
    let response = get(&mocks, Backend::Review, REVIEWS).await;
    assert_eq!(response.header("content-encoding"), "gzip");
    assert!(response.body.len() < 400_000);
}

#[tokio::test(start_paused = true)]
async fn the_control_port_sets_lists_and_clears() {
    let mocks = mocks();
    let put = async |path: &str, body: &str| {
        call(&mocks, Port::Control, &format!("PUT {path}"), &[], body).await
    };
    let set = put(
        "/faults/review",
        r#"{"route":"/reviews","latency":"2s","next":3}"#,
    )
    .await;
    assert_eq!(
        set.json(),
        serde_json::json!([{ "route": "/reviews", "latency": "2000ms", "next": 3 }])
    );
    let invalid = put("/faults/review", r#"{"latency":"fast"}"#).await;
    assert_eq!(invalid.status, 400);
    assert!(
        invalid.json()["message"]
            .as_str()
            .unwrap()
            .contains("`fast` is not a duration")
    );
    let unknown = put("/faults/review", r#"{"letency":"2s"}"#).await;
    assert!(
        unknown.json()["message"]
            .as_str()
            .unwrap()
            .contains("letency")
    );
    assert_eq!(
        put("/faults/reviews", r#"{"status":503}"#).await.status,
        404
    );
    assert_eq!(
        call(&mocks, Port::Control, "DELETE /faults/review", &[], "")
            .await
            .status,
        204
    );
    assert_eq!(
        get(&mocks, Port::Control, "/faults").await.json()["review"],
        serde_json::json!([])
    );
}
