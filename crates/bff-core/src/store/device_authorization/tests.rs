//! Pairings on both sides of the store.

use super::*;
use crate::store::tests::sides;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(60);

fn pairings(store: Store, lasts: Duration, tries: u32) -> DeviceAuthorizations {
    let world = Env::real();
    let seal = RecordCipher::open(&crate::store::Config::default(), &world).unwrap();
    DeviceAuthorizations::new(
        store,
        seal,
        &world,
        Config {
            expires_in: lasts,
            max_attempts: tries,
        },
    )
}

async fn poll(pairings: &DeviceAuthorizations, begun: &DeviceAuthorization) -> PollResult<String> {
    pairings.poll(&begun.device_code).await.unwrap()
}

#[tokio::test]
async fn a_device_is_let_in_once_by_a_code_that_is_good_once() {
    for (store, _server) in sides().await {
        let pairings = pairings(store, LONG, 10);
        let begun = pairings.begin("living room").await.unwrap();
        assert_eq!(poll(&pairings, &begun).await, PollResult::Pending);
        let typed = begun.user_code.to_ascii_lowercase().replace('-', " ");
        let shown = pairings.read::<String>("ada", &typed).await.unwrap();
        assert_eq!(shown, UserCodeResult::Accepted("living room".to_owned()));
        let decide = || pairings.decide("ada", &typed, Some("token"));
        assert_eq!(decide().await.unwrap(), UserCodeResult::Accepted(()));
        assert_eq!(decide().await.unwrap(), UserCodeResult::Unknown);
        assert_eq!(
            poll(&pairings, &begun).await,
            PollResult::Approved("token".to_owned())
        );
        assert_eq!(poll(&pairings, &begun).await, PollResult::Expired);
        let denied = pairings.begin("kitchen").await.unwrap();
        let deny = pairings.decide::<String>("ada", &denied.user_code, None);
        assert_eq!(deny.await.unwrap(), UserCodeResult::Accepted(()));
        assert_eq!(poll(&pairings, &denied).await, PollResult::Denied);
        let left = pairings.begin("hall").await.unwrap();
        pairings.remove(&left).await.unwrap();
        assert_eq!(poll(&pairings, &left).await, PollResult::Expired);
        let shown = pairings
            .read::<String>("ada", &left.user_code)
            .await
            .unwrap();
        assert_eq!(shown, UserCodeResult::Unknown);
    }
}

#[tokio::test]
async fn a_code_ends() {
    for (store, _server) in sides().await {
        let pairings = pairings(store, SHORT, 10);
        let begun = pairings.begin("tv").await.unwrap();
        tokio::time::sleep(SHORT + SHORT).await;
        let late = pairings.decide("ada", &begun.user_code, Some("token"));
        assert_eq!(late.await.unwrap(), UserCodeResult::Unknown);
        assert_eq!(poll(&pairings, &begun).await, PollResult::Expired);
    }
}

/// However many tries come at once, so many are looked at, whether they are right or wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn guessing_is_bounded() {
    for (store, _server) in sides().await {
        let pairings = pairings(store, LONG, 5);
        let begun = pairings.begin("tv").await.unwrap();
        let guesses = (0..8).map(|_| pairings.read::<String>("eve", "BCDF-BCDF"));
        let guesses = futures_util::future::join_all(guesses).await;
        let looked_at = guesses
            .iter()
            .filter(|g| matches!(g, Ok(UserCodeResult::Unknown)));
        assert_eq!(looked_at.count(), 5);
        let right = pairings.read::<String>("eve", &begun.user_code).await;
        assert_eq!(right.unwrap(), UserCodeResult::TooManyAttempts);
        let right = pairings
            .decide("eve", &begun.user_code, Some("token"))
            .await;
        assert_eq!(right.unwrap(), UserCodeResult::TooManyAttempts);
        // Another's tries are another's.
        let right = pairings
            .decide("ada", &begun.user_code, Some("token"))
            .await;
        assert_eq!(right.unwrap(), UserCodeResult::Accepted(()));
    }
}

#[tokio::test(start_paused = true)]
async fn who_tried_too_often_may_try_again_when_the_time_is_up_and_not_later() {
    let pairings = pairings(Store::memory(1 << 20, &Env::real()), LONG, 2);
    let guess = || pairings.read::<String>("eve", "none");
    assert_eq!(guess().await.unwrap(), UserCodeResult::Unknown);
    tokio::time::advance(LONG / 2).await;
    assert_eq!(guess().await.unwrap(), UserCodeResult::Unknown);
    assert_eq!(guess().await.unwrap(), UserCodeResult::TooManyAttempts);
    // Trying on does not push the end away.
    tokio::time::advance(LONG / 2).await;
    assert_eq!(guess().await.unwrap(), UserCodeResult::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_who_decide_one_does_and_of_many_polls_one_is_told() {
    for (store, _server) in sides().await {
        let pairings = pairings(store, LONG, 100);
        for _ in 0..20 {
            let begun = pairings.begin("tv").await.unwrap();
            let (code, by) = (&begun.user_code, ["ada", "ben", "kim"]);
            let decided = by.map(|by| pairings.decide(by, code, Some(by)));
            let decided = futures_util::future::join_all(decided).await;
            let good = decided
                .iter()
                .filter(|d| matches!(d, Ok(UserCodeResult::Accepted(()))));
            assert_eq!(good.count(), 1);
            let polls = (0..4).map(|_| poll(&pairings, &begun));
            let polls = futures_util::future::join_all(polls).await;
            let told: Vec<&PollResult<String>> = polls
                .iter()
                .filter(|p| matches!(p, PollResult::Approved(_)))
                .collect();
            let winner = decided
                .iter()
                .position(|d| matches!(d, Ok(UserCodeResult::Accepted(()))));
            assert_eq!(
                told,
                [&PollResult::Approved(by[winner.unwrap()].to_owned())]
            );
        }
    }
}

#[tokio::test]
async fn nothing_of_a_pairing_is_in_the_store_as_it_is() {
    let store = Store::memory(1 << 20, &Env::real());
    let pairings = pairings(store.clone(), LONG, 10);
    let begun = pairings.begin("tv-abc").await.unwrap();
    let letters = begun.user_code.replace('-', "");
    assert!(letters.len() == 8 && letters.bytes().all(|b| LETTERS.contains(&b)));
    for key in [code(&begun.user_code), device(&begun.device_code)] {
        let kept = store
            .get_many(std::slice::from_ref(&key))
            .await
            .unwrap()
            .remove(0)
            .unwrap();
        for secret in ["tv-abc", &begun.device_code, &letters, &begun.user_code] {
            assert!(!kept.windows(secret.len()).any(|w| w == secret.as_bytes()));
            assert!(!key.as_str().contains(secret));
        }
    }
}
