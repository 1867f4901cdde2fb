//! Repeated writes, in both stores.

use std::time::Duration;

use super::*;
use crate::Config;
use crate::tests::both_stores;
use bff_config::Secret;
use bff_runtime::net::Env;
use tokio_util::task::TaskTracker;

const LONG: Duration = Duration::from_secs(60);

fn cipher(byte: u8) -> RecordCipher {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([byte; 32]);
    let config = Config {
        encryption_keys: vec![Secret::new(text)],
        ..Config::default()
    };
    RecordCipher::open(&config, &Env::real()).unwrap()
}

fn idempotency(store: Store) -> Idempotency {
    Idempotency::new(store, cipher(1), &TaskTracker::new())
}

fn in_process() -> Idempotency {
    idempotency(Store::memory(1 << 20, &Env::real()))
}

async fn begin_for(
    idempotency: &Idempotency,
    owner: &str,
    key_text: &str,
    body: u8,
) -> BeginResult {
    let write = IdempotentWrite {
        owner: owner.as_bytes(),
        key_parts: &[b"checkout", key_text.as_bytes()],
        body_hash: [body; 32],
        max_duration: LONG,
    };
    idempotency.begin(write).await.unwrap()
}

async fn begin(idempotency: &Idempotency, body: u8) -> BeginResult {
    begin_for(idempotency, "alice", "k", body).await
}

fn expect_new(result: BeginResult) -> Claim {
    let BeginResult::New(claim) = result else {
        panic!("not new: {result:?}");
    };
    claim
}

fn expect_retry(result: BeginResult) -> Claim {
    let BeginResult::Retry(claim) = result else {
        panic!("not a retry: {result:?}");
    };
    claim
}

/// Waits until a dropped claim is abandoned. On Redis, a task does that.
async fn wait_until_abandoned(idempotency: &Idempotency) {
    idempotency.tasks.close();
    idempotency.tasks.wait().await;
    idempotency.tasks.reopen();
}

#[tokio::test]
async fn a_write_runs_once_and_its_response_is_replayed() {
    for (store, _server) in both_stores().await {
        let idempotency = idempotency(store);
        let claim = expect_new(begin(&idempotency, 1).await);
        claim.mark_started();
        assert!(matches!(
            begin(&idempotency, 1).await,
            BeginResult::InProgress
        ));
        assert!(matches!(
            begin(&idempotency, 2).await,
            BeginResult::KeyReused
        ));
        assert!(claim.complete(b"placed").await.unwrap());
        assert!(
            matches!(begin(&idempotency, 1).await, BeginResult::Completed(response) if response == "placed")
        );
        assert!(matches!(
            begin(&idempotency, 2).await,
            BeginResult::KeyReused
        ));
        // The same key of another owner, and another key of the same owner, are independent.
        drop(expect_new(begin_for(&idempotency, "bob", "k", 1).await));
        drop(expect_new(begin_for(&idempotency, "alice", "l", 1).await));
    }
}

#[tokio::test]
async fn a_write_that_never_started_may_run_again() {
    for (store, _server) in both_stores().await {
        let idempotency = idempotency(store);
        drop(expect_new(begin(&idempotency, 1).await));
        wait_until_abandoned(&idempotency).await;
        // Even with another body.
        assert!(
            expect_new(begin(&idempotency, 2).await)
                .abandon()
                .await
                .unwrap()
        );
        drop(expect_new(begin(&idempotency, 3).await));
    }
}

#[tokio::test]
async fn an_interrupted_write_is_retried() {
    for (store, _server) in both_stores().await {
        let idempotency = idempotency(store);
        let claim = expect_new(begin(&idempotency, 1).await);
        claim.mark_started();
        drop(claim);
        wait_until_abandoned(&idempotency).await;
        assert!(matches!(
            begin(&idempotency, 2).await,
            BeginResult::KeyReused
        ));
        // The next attempt is a retry, even if it starts nothing itself.
        drop(expect_retry(begin(&idempotency, 1).await));
        wait_until_abandoned(&idempotency).await;
        let claim = expect_retry(begin(&idempotency, 1).await);
        assert!(matches!(
            begin(&idempotency, 1).await,
            BeginResult::InProgress
        ));
        assert!(claim.abandon().await.unwrap());
        assert!(
            expect_retry(begin(&idempotency, 1).await)
                .complete(b"x")
                .await
                .unwrap()
        );
        assert!(
            matches!(begin(&idempotency, 1).await, BeginResult::Completed(response) if response == "x")
        );
    }
}

#[tokio::test]
async fn an_attempt_that_clears_its_started_flag_may_run_again() {
    let idempotency = in_process();
    let claim = expect_new(begin(&idempotency, 1).await);
    claim.started_flag().store(true, Ordering::Relaxed);
    claim.started_flag().store(false, Ordering::Relaxed);
    assert!(claim.abandon().await.unwrap());
    drop(expect_new(begin(&idempotency, 2).await));
}

/// A killed process never drops its claim.
#[tokio::test(start_paused = true)]
async fn a_claim_expires_and_its_late_response_is_not_stored() {
    let idempotency = in_process();
    let killed = expect_new(begin(&idempotency, 1).await);
    tokio::time::advance(Duration::from_millis(59_999)).await;
    assert!(matches!(
        begin(&idempotency, 1).await,
        BeginResult::InProgress
    ));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(matches!(
        begin(&idempotency, 2).await,
        BeginResult::KeyReused
    ));
    let second = expect_retry(begin(&idempotency, 1).await);
    assert!(!killed.complete(b"late").await.unwrap());
    assert!(second.complete(b"in time").await.unwrap());
    tokio::time::advance(Duration::from_secs(24 * 60 * 60 - 1)).await;
    assert!(
        matches!(begin(&idempotency, 1).await, BeginResult::Completed(response) if response == "in time")
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    drop(expect_new(begin(&idempotency, 2).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_concurrent_attempts_one_runs() {
    for (store, _server) in both_stores().await {
        let idempotency = idempotency(store);
        // Of many retries of an interrupted write, one runs too.
        for _ in ["first", "again"] {
            let mut attempts = tokio::task::JoinSet::new();
            for _ in 0..64 {
                let idempotency = idempotency.clone();
                attempts.spawn(async move { begin(&idempotency, 1).await });
            }
            let results = attempts.join_all().await;
            let is_claim =
                |b: &&BeginResult| matches!(b, BeginResult::New(_) | BeginResult::Retry(_));
            assert_eq!(results.iter().filter(is_claim).count(), 1);
            for result in results {
                if let BeginResult::New(claim) | BeginResult::Retry(claim) = result {
                    claim.mark_started();
                    assert!(claim.abandon().await.unwrap());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_record_is_unreadable_without_its_encryption_key() {
    let store = Store::memory(1 << 20, &Env::real());
    let idempotency = idempotency(store.clone());
    let claim = expect_new(begin(&idempotency, 7).await);
    let key = claim.key.clone();
    assert!(claim.complete(b"card 1111").await.unwrap());
    let bytes = store.get_many(&[key]).await.unwrap().remove(0).unwrap();
    for secret in [&b"1111"[..], &[7; 32]] {
        assert!(!bytes.windows(secret.len()).any(|w| w == secret));
    }
    // Without the encryption key the record is unreadable, so the write is rejected.
    let other = Idempotency::new(store, cipher(2), &TaskTracker::new());
    let write = IdempotentWrite {
        owner: b"alice",
        key_parts: &[b"checkout", b"k"],
        body_hash: [7; 32],
        max_duration: LONG,
    };
    assert_eq!(other.begin(write).await.unwrap_err(), StoreUnavailable);
}
