//! Device authorizations in both stores.

use super::*;
use crate::tests::both_stores;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(60);

fn authorizations(store: Store, expires_in: Duration, max_attempts: u32) -> DeviceAuthorizations {
    let env = Env::real();
    let cipher = RecordCipher::open(&crate::Config::default(), &env).unwrap();
    DeviceAuthorizations::new(
        store,
        cipher,
        &env,
        Config {
            expires_in,
            max_attempts,
        },
    )
}

async fn poll(
    authorizations: &DeviceAuthorizations,
    authorization: &DeviceAuthorization,
) -> PollResult<String> {
    authorizations
        .poll(&authorization.device_code)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_user_code_approves_its_device_once() {
    for (store, _server) in both_stores().await {
        let authorizations = authorizations(store, LONG, 10);
        let authorization = authorizations.begin("living room").await.unwrap();
        assert_eq!(
            poll(&authorizations, &authorization).await,
            PollResult::Pending
        );
        let typed_code = authorization
            .user_code
            .to_ascii_lowercase()
            .replace('-', " ");
        let result = authorizations
            .read::<String>("ada", &typed_code)
            .await
            .unwrap();
        assert_eq!(result, UserCodeResult::Accepted("living room".to_owned()));
        let decide = || authorizations.decide("ada", &typed_code, Some("token"));
        assert_eq!(decide().await.unwrap(), UserCodeResult::Accepted(()));
        assert_eq!(decide().await.unwrap(), UserCodeResult::Unknown);
        assert_eq!(
            poll(&authorizations, &authorization).await,
            PollResult::Approved("token".to_owned())
        );
        assert_eq!(
            poll(&authorizations, &authorization).await,
            PollResult::Expired
        );
        let denied = authorizations.begin("kitchen").await.unwrap();
        let deny = authorizations.decide::<String>("ada", &denied.user_code, None);
        assert_eq!(deny.await.unwrap(), UserCodeResult::Accepted(()));
        assert_eq!(poll(&authorizations, &denied).await, PollResult::Denied);
        let removed = authorizations.begin("hall").await.unwrap();
        authorizations.remove(&removed).await.unwrap();
        assert_eq!(poll(&authorizations, &removed).await, PollResult::Expired);
        let result = authorizations
            .read::<String>("ada", &removed.user_code)
            .await
            .unwrap();
        assert_eq!(result, UserCodeResult::Unknown);
    }
}

#[tokio::test]
async fn a_user_code_expires() {
    for (store, _server) in both_stores().await {
        let authorizations = authorizations(store, SHORT, 10);
        let authorization = authorizations.begin("tv").await.unwrap();
        tokio::time::sleep(SHORT + SHORT).await;
        let decision = authorizations.decide("ada", &authorization.user_code, Some("token"));
        assert_eq!(decision.await.unwrap(), UserCodeResult::Unknown);
        assert_eq!(
            poll(&authorizations, &authorization).await,
            PollResult::Expired
        );
    }
}

/// Of many attempts at once, only the allowed number is looked up, right or wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn guessing_is_limited() {
    for (store, _server) in both_stores().await {
        let authorizations = authorizations(store, LONG, 5);
        let authorization = authorizations.begin("tv").await.unwrap();
        let guesses = (0..8).map(|_| authorizations.read::<String>("eve", "BCDF-BCDF"));
        let guesses = futures_util::future::join_all(guesses).await;
        let unknown = guesses
            .iter()
            .filter(|g| matches!(g, Ok(UserCodeResult::Unknown)));
        assert_eq!(unknown.count(), 5);
        let right = authorizations
            .read::<String>("eve", &authorization.user_code)
            .await;
        assert_eq!(right.unwrap(), UserCodeResult::TooManyAttempts);
        let right = authorizations
            .decide("eve", &authorization.user_code, Some("token"))
            .await;
        assert_eq!(right.unwrap(), UserCodeResult::TooManyAttempts);
        // The limit applies to each account separately.
        let right = authorizations
            .decide("ada", &authorization.user_code, Some("token"))
            .await;
        assert_eq!(right.unwrap(), UserCodeResult::Accepted(()));
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_allowed_again_after_the_time() {
    let authorizations = authorizations(Store::memory(1 << 20, &Env::real()), LONG, 2);
    let guess = || authorizations.read::<String>("eve", "none");
    assert_eq!(guess().await.unwrap(), UserCodeResult::Unknown);
    tokio::time::advance(LONG / 2).await;
    assert_eq!(guess().await.unwrap(), UserCodeResult::Unknown);
    assert_eq!(guess().await.unwrap(), UserCodeResult::TooManyAttempts);
    // Attempts over the limit do not extend the period.
    tokio::time::advance(LONG / 2).await;
    assert_eq!(guess().await.unwrap(), UserCodeResult::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_decisions_and_one_of_many_polls_succeeds() {
    for (store, _server) in both_stores().await {
        let authorizations = authorizations(store, LONG, 100);
        for _ in 0..20 {
            let authorization = authorizations.begin("tv").await.unwrap();
            let (code, accounts) = (&authorization.user_code, ["ada", "ben", "kim"]);
            let decisions =
                accounts.map(|account| authorizations.decide(account, code, Some(account)));
            let decisions = futures_util::future::join_all(decisions).await;
            let accepted = decisions
                .iter()
                .filter(|d| matches!(d, Ok(UserCodeResult::Accepted(()))));
            assert_eq!(accepted.count(), 1);
            let polls = (0..4).map(|_| poll(&authorizations, &authorization));
            let polls = futures_util::future::join_all(polls).await;
            let approvals: Vec<&PollResult<String>> = polls
                .iter()
                .filter(|p| matches!(p, PollResult::Approved(_)))
                .collect();
            let winner = decisions
                .iter()
                .position(|d| matches!(d, Ok(UserCodeResult::Accepted(()))));
            assert_eq!(
                approvals,
                [&PollResult::Approved(accounts[winner.unwrap()].to_owned())]
            );
        }
    }
}

#[tokio::test]
async fn no_authorization_is_readable_in_the_store() {
    let store = Store::memory(1 << 20, &Env::real());
    let authorizations = authorizations(store.clone(), LONG, 10);
    let authorization = authorizations.begin("tv-abc").await.unwrap();
    let letters = authorization.user_code.replace('-', "");
    assert!(letters.len() == 8 && letters.bytes().all(|b| LETTERS.contains(&b)));
    for key in [
        user_code_key(&authorization.user_code),
        device_key(&authorization.device_code),
    ] {
        let bytes = store
            .get_many(std::slice::from_ref(&key))
            .await
            .unwrap()
            .remove(0)
            .unwrap();
        for secret in [
            "tv-abc",
            &authorization.device_code,
            &letters,
            &authorization.user_code,
        ] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
            assert!(!key.as_str().contains(secret));
        }
    }
}
