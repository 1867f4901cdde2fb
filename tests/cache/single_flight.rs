//! Many who want the same at once are one call, and it lasts as long as one of them waits.

use super::*;

/// One stream for each reader of a fifth of the herd: HTTP/2 without TLS, by prior knowledge.
#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
pub(super) fn many() -> Client {
    let client = Client::builder().no_proxy().http2_prior_knowledge();
    client.build().unwrap()
}

#[tokio::test]
async fn a_thousand_equal_requests_are_one_call_to_each_backend() {
    // Room for all at once: how many are let in is another test's question.
    let wide = "[inbound]\ndeadline = \"20s\"\n[inbound.load_shedding.concurrency_limit]\ninitial = 2000\nmax = 2000\n";
    let fleet = keeping(wide).await;
    // Long enough for all of them to arrive while it is under way.
    for backend in [Backend::Product, Backend::Review, Backend::Inventory] {
        let slow = Fault::latency(Duration::from_millis(700));
        fleet.running.mocks().set_fault(backend, slow).unwrap();
    }
    let url = format!("{}{PART}", fleet.running.url("web"));
    let clients: Vec<Client> = (0..5).map(|_| many()).collect();
    let asking = (0..1000).map(|n| {
        let request = clients[n % 5].get(&url);
        async move { send(request).await.bytes().await.unwrap() }
    });
    let pages = join_all(asking).await;
    let first: Value = serde_json::from_slice(&pages[0]).unwrap();
    assert_eq!(first["_meta"]["complete"], true, "{first}");
    for page in &pages {
        let page: Value = serde_json::from_slice(page).unwrap();
        assert_eq!(page["product"], first["product"]);
    }
    for backend in [Backend::Product, Backend::Review, Backend::Inventory] {
        assert_eq!(fleet.running.mocks().stats(backend).calls, 1, "{backend}");
    }
}

#[tokio::test]
async fn whoever_began_a_call_may_leave_it_to_the_others_and_the_last_one_ends_it() {
    let fleet = keeping("").await;
    let review = || fleet.running.mocks().stats(Backend::Review);
    let slow = Fault::latency(Duration::from_millis(400));
    fleet
        .running
        .mocks()
        .set_fault(Backend::Review, slow)
        .unwrap();
    let url = format!("{}{PART}", fleet.running.url("web"));
    let ask = || {
        let request = crate::support::client().get(&url);
        tokio::spawn(async move { send(request).await.json::<Value>().await.unwrap() })
    };
    let leader = ask();
    wait_until(|| review().in_flight == 1).await;
    let follower = ask();
    // Time to join.
    tokio::time::sleep(Duration::from_millis(100)).await;
    leader.abort();
    let page = follower.await.unwrap();
    assert_eq!(page["_meta"]["sections"]["reviews"]["state"], "fresh");
    assert_eq!((review().calls, review().cancelled), (1, 0));

    let hangs = Fault::mode(Mode::Hang);
    fleet
        .running
        .mocks()
        .set_fault(Backend::Product, hangs)
        .unwrap();
    let product = || fleet.running.mocks().stats(Backend::Product);
    let other = format!(
        "{}/api/product-details/p-2?fields=product",
        fleet.running.url("web")
    );
    let ask = || {
        let request = crate::support::client().get(&other);
        tokio::spawn(async move { send(request).await })
    };
    let (leader, follower) = (ask(), ask());
    wait_until(|| product().in_flight == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    leader.abort();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(product().in_flight, 1, "somebody still waits");
    follower.abort();
    wait_until(|| product().in_flight == 0).await;
    assert_eq!(product().cancelled, 1);
}

#[tokio::test]
async fn who_has_more_time_is_not_cut_with_who_has_less() {
    let fleet = keeping("").await;
    let slow = Fault::latency(Duration::from_millis(500));
    fleet
        .running
        .mocks()
        .set_fault(Backend::Review, slow)
        .unwrap();
    let hurried = [("request-timeout", "250")];
    let began = instant();
    let (hurried, patient) = tokio::join!(
        async {
            let page = fleet.get_with("web", PART, &hurried).await;
            (page, began.elapsed())
        },
        async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            fleet.get("web", PART).await
        }
    );
    assert_eq!(hurried.0.section("reviews")["reason"], "deadline");
    assert!(hurried.1 < Duration::from_millis(350), "{:?}", hurried.1);
    assert_eq!(patient.section("reviews")["state"], "fresh");
    assert_eq!(fleet.running.mocks().stats(Backend::Review).calls, 1);
}
