//! The statistics of calls.

use super::*;
use crate::Fault;

#[tokio::test(start_paused = true)]
async fn calls_routes_and_headers() {
    let mocks = mocks();
    for id in ["p-1", "p-2", "p-1"] {
        let line = format!("GET /products/{id}");
        assert_eq!(
            call(&mocks, Backend::Product, &line, &[("x-request-id", id)], "")
                .await
                .status,
            200
        );
    }
    assert_eq!(get(&mocks, Backend::Product, "/nowhere").await.status, 404);
    settle().await;
    let stats = mocks.stats(Backend::Product);
    assert_eq!((stats.calls, stats.cancelled, stats.in_flight), (4, 0, 0));
    assert_eq!(
        (stats.routes["/products/{id}"], stats.routes["/nowhere"]),
        (3, 1)
    );
    assert_eq!(stats.last_headers["host"], "mock");
    let shown = get(&mocks, Port::Control, "/stats/product").await.json();
    assert_eq!(
        (&shown["calls"], &shown["routes"]["/products/{id}"]),
        (&Value::from(4), &Value::from(3))
    );
    assert_eq!(
        call(&mocks, Port::Control, "DELETE /stats", &[], "")
            .await
            .status,
        204
    );
    assert_eq!(mocks.stats(Backend::Product).calls, 0);
    assert_eq!(mocks.stats(Backend::Order).calls, 0);
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_set_the_peak() {
    let mocks = mocks();
    mocks
        .set_fault(Backend::Product, Fault::latency(Duration::from_secs(1)))
        .unwrap();
    let calls = (0..5).map(|_| get(&mocks, Backend::Product, "/products/p-1"));
    let (all, ()) = tokio::join!(futures_util::future::join_all(calls), async {
        settle().await;
        assert_eq!(mocks.stats(Backend::Product).in_flight, 5);
    });
    assert!(all.iter().all(|response| response.status == 200));
    settle().await;
    let stats = mocks.stats(Backend::Product);
    assert_eq!(
        (stats.in_flight, stats.peak_in_flight, stats.cancelled),
        (0, 5, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_aborted_post_counts_as_cancelled() {
    let mocks = mocks();
    mocks
        .set_fault(Backend::Order, Fault::latency(Duration::from_secs(5)))
        .unwrap();
    let post = request(
        "POST /orders",
        &[("x-user-id", "ada"), ("idempotency-key", "k")],
        "{}",
    );
    let call = send(&mocks, Backend::Order, post);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), call)
            .await
            .is_err()
    );
    settle().await;
    let stats = mocks.stats(Backend::Order);
    assert_eq!((stats.calls, stats.cancelled, stats.in_flight), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn conditional_and_head_calls_do_not_count_as_cancelled() {
    let mocks = mocks();
    let first = get(&mocks, Backend::Product, "/products/p-1").await;
    let tag = first.header("etag").to_owned();
    let second = call(
        &mocks,
        Backend::Product,
        "GET /products/p-1",
        &[("if-none-match", &tag)],
        "",
    )
    .await;
    assert_eq!((second.status.as_u16(), second.body.len()), (304, 0));
    assert_eq!(second.header("cache-control"), "public, max-age=60");
    let head = call(&mocks, Backend::Product, "HEAD /products/p-1", &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    settle().await;
    assert_eq!(mocks.stats(Backend::Product).cancelled, 0);
}

#[tokio::test(start_paused = true)]
async fn an_observer_receives_the_start_and_end_of_every_call() {
    let mocks = mocks();
    let events = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let log = events.clone();
    let observe = move |backend: Backend, call, event: crate::CallEvent<'_>| {
        let text = match event {
            crate::CallEvent::Arrived {
                method,
                path,
                headers,
            } => format!("{method} {path} {:?}", headers["x-request-id"]),
            crate::CallEvent::Ended => "ended".to_owned(),
        };
        log.lock().push((backend, call, text));
    };
    mocks.set_observer(observe).unwrap();
    assert!(
        mocks.set_observer(|_, _, _| ()).is_err(),
        "only one observer is allowed"
    );
    for backend in [Backend::Product, Backend::Review] {
        let headers = [("x-request-id", "r-1")];
        call(&mocks, backend, "GET /nowhere?a=b", &headers, "").await;
        settle().await;
    }
    let arrived = "GET /nowhere \"r-1\"".to_owned();
    let (product, review) = (Backend::Product, Backend::Review);
    assert_eq!(
        *events.lock(),
        [
            (product, 0, arrived.clone()),
            (product, 0, "ended".to_owned()),
            (review, 1, arrived),
            (review, 1, "ended".to_owned()),
        ]
    );
}
