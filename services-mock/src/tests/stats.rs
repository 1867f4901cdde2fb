//! What is counted of the calls that arrive.

use super::*;
use crate::Fault;

#[tokio::test(start_paused = true)]
async fn calls_routes_and_headers() {
    let mocks = mocks();
    for id in ["p-1", "p-2", "p-1"] {
        let line = format!("GET /products/{id}");
        assert_eq!(
            ask(&mocks, Backend::Product, &line, &[("x-request-id", id)], "")
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
    let seen = get(&mocks, Port::Control, "/stats/product").await.json();
    assert_eq!(
        (&seen["calls"], &seen["routes"]["/products/{id}"]),
        (&Value::from(4), &Value::from(3))
    );
    assert_eq!(
        ask(&mocks, Port::Control, "DELETE /stats", &[], "")
            .await
            .status,
        204
    );
    assert_eq!(mocks.stats(Backend::Product).calls, 0);
    assert_eq!(mocks.stats(Backend::Order).calls, 0);
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_make_the_peak() {
    let mocks = mocks();
    mocks
        .set_fault(Backend::Product, Fault::latency(Duration::from_secs(1)))
        .unwrap();
    let calls = (0..5).map(|_| get(&mocks, Backend::Product, "/products/p-1"));
    let (all, ()) = tokio::join!(futures_util::future::join_all(calls), async {
        settle().await;
        assert_eq!(mocks.stats(Backend::Product).in_flight, 5);
    });
    assert!(all.iter().all(|got| got.status == 200));
    settle().await;
    let stats = mocks.stats(Backend::Product);
    assert_eq!(
        (stats.in_flight, stats.peak_in_flight, stats.cancelled),
        (0, 5, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_post_that_is_abandoned_counts_as_cancelled() {
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
async fn conditional_and_head_calls_are_not_cancelled_ones() {
    let mocks = mocks();
    let first = get(&mocks, Backend::Product, "/products/p-1").await;
    let tag = first.header("etag").to_owned();
    let again = ask(
        &mocks,
        Backend::Product,
        "GET /products/p-1",
        &[("if-none-match", &tag)],
        "",
    )
    .await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(again.header("cache-control"), "public, max-age=60");
    let head = ask(&mocks, Backend::Product, "HEAD /products/p-1", &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    settle().await;
    assert_eq!(mocks.stats(Backend::Product).cancelled, 0);
}

#[tokio::test(start_paused = true)]
async fn a_witness_hears_of_every_call_that_it_arrived_and_that_it_left() {
    let mocks = mocks();
    let heard = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let list = heard.clone();
    let hear = move |backend: Backend, call, moment: crate::CallEvent<'_>| {
        let said = match moment {
            crate::CallEvent::Arrived {
                method,
                path,
                headers,
            } => format!("{method} {path} {:?}", headers["x-request-id"]),
            crate::CallEvent::Left => "left".to_owned(),
        };
        list.lock().push((backend, call, said));
    };
    mocks.watched_by(hear).unwrap();
    assert!(mocks.watched_by(|_, _, _| ()).is_err(), "one at most");
    for backend in [Backend::Product, Backend::Review] {
        let headers = [("x-request-id", "r-1")];
        ask(&mocks, backend, "GET /nowhere?a=b", &headers, "").await;
        settle().await;
    }
    let arrived = "GET /nowhere \"r-1\"".to_owned();
    let (product, review) = (Backend::Product, Backend::Review);
    assert_eq!(
        *heard.lock(),
        [
            (product, 0, arrived.clone()),
            (product, 0, "left".to_owned()),
            (review, 1, arrived),
            (review, 1, "left".to_owned()),
        ]
    );
}
