//! What becomes of a write that comes again, on both sides of the store.

use std::time::Duration;

use super::*;
use crate::config::Secret;
use crate::context::Env;
use crate::store::Config;
use crate::store::tests::{shared, sides};

const LONG: Duration = Duration::from_secs(60);

fn seal(byte: u8) -> RecordCipher {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([byte; 32]);
    let config = Config {
        encryption_keys: vec![Secret::new(text)],
        ..Config::default()
    };
    RecordCipher::open(&config, &Env::real()).unwrap()
}

fn memory(store: Store) -> Idempotency {
    Idempotency::new(store, seal(1), &shared())
}

fn in_process() -> Idempotency {
    memory(Store::memory(1 << 20, &Env::real()))
}

async fn begin_for(memory: &Idempotency, whose: &str, key: &str, body: u8) -> BeginResult {
    let wanted = IdempotentWrite {
        whose: whose.as_bytes(),
        name: &[b"checkout", key.as_bytes()],
        body_hash: [body; 32],
        longest: LONG,
    };
    memory.begin(wanted).await.unwrap()
}

async fn begin(memory: &Idempotency, body: u8) -> BeginResult {
    begin_for(memory, "alice", "k", body).await
}

fn first(begun: BeginResult) -> Claim {
    let BeginResult::New(claim) = begun else {
        panic!("it is not the first: {begun:?}");
    };
    claim
}

fn again(begun: BeginResult) -> Claim {
    let BeginResult::Retry(claim) = begun else {
        panic!("nobody left it open: {begun:?}");
    };
    claim
}

/// Lets a claim that was dropped be given up, which on Redis a task does.
async fn given_up(memory: &Idempotency) {
    memory.tasks.close();
    memory.tasks.wait().await;
    memory.tasks.reopen();
}

#[tokio::test]
async fn a_write_is_done_once_and_answered_again() {
    for (store, _server) in sides().await {
        let memory = memory(store);
        let claim = first(begin(&memory, 1).await);
        claim.begin();
        assert!(matches!(begin(&memory, 1).await, BeginResult::InProgress));
        assert!(matches!(begin(&memory, 2).await, BeginResult::KeyReused));
        assert!(claim.done(b"placed").await.unwrap());
        assert!(
            matches!(begin(&memory, 1).await, BeginResult::Completed(answer) if answer == "placed")
        );
        assert!(matches!(begin(&memory, 2).await, BeginResult::KeyReused));
        // Another's key, and another key of the same one, are others.
        drop(first(begin_for(&memory, "bob", "k", 1).await));
        drop(first(begin_for(&memory, "alice", "l", 1).await));
    }
}

#[tokio::test]
async fn a_write_of_which_nothing_was_begun_may_start_again() {
    for (store, _server) in sides().await {
        let memory = memory(store);
        drop(first(begin(&memory, 1).await));
        given_up(&memory).await;
        // Even with another body.
        assert!(first(begin(&memory, 2).await).abandon().await.unwrap());
        drop(first(begin(&memory, 3).await));
    }
}

#[tokio::test]
async fn a_write_that_was_begun_and_left_without_a_word_stays_open() {
    for (store, _server) in sides().await {
        let memory = memory(store);
        let claim = first(begin(&memory, 1).await);
        claim.begin();
        drop(claim);
        given_up(&memory).await;
        assert!(matches!(begin(&memory, 2).await, BeginResult::KeyReused));
        // The next try is one of several, even when it begins nothing itself.
        drop(again(begin(&memory, 1).await));
        given_up(&memory).await;
        let claim = again(begin(&memory, 1).await);
        assert!(matches!(begin(&memory, 1).await, BeginResult::InProgress));
        assert!(claim.abandon().await.unwrap());
        assert!(again(begin(&memory, 1).await).done(b"x").await.unwrap());
        assert!(matches!(begin(&memory, 1).await, BeginResult::Completed(answer) if answer == "x"));
    }
}

#[tokio::test]
async fn what_a_try_did_after_all_not_begin_may_start_again() {
    let memory = in_process();
    let claim = first(begin(&memory, 1).await);
    claim.begun().store(true, Ordering::Relaxed);
    claim.begun().store(false, Ordering::Relaxed);
    assert!(claim.abandon().await.unwrap());
    drop(first(begin(&memory, 2).await));
}

/// A killed process says nothing: its claim is never dropped.
#[tokio::test(start_paused = true)]
async fn a_claim_whose_holder_died_is_open_after_its_time_and_its_late_answer_is_not_kept() {
    let memory = in_process();
    let dead = first(begin(&memory, 1).await);
    tokio::time::advance(Duration::from_millis(59_999)).await;
    assert!(matches!(begin(&memory, 1).await, BeginResult::InProgress));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(matches!(begin(&memory, 2).await, BeginResult::KeyReused));
    let second = again(begin(&memory, 1).await);
    assert!(!dead.done(b"late").await.unwrap());
    assert!(second.done(b"in time").await.unwrap());
    tokio::time::advance(Duration::from_secs(24 * 60 * 60 - 1)).await;
    assert!(
        matches!(begin(&memory, 1).await, BeginResult::Completed(answer) if answer == "in time")
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    drop(first(begin(&memory, 2).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_runs() {
    for (store, _server) in sides().await {
        let memory = memory(store);
        // What an earlier try left open is taken up by one as well.
        for _ in ["first", "again"] {
            let mut tries = tokio::task::JoinSet::new();
            for _ in 0..64 {
                let memory = memory.clone();
                tries.spawn(async move { begin(&memory, 1).await });
            }
            let begun = tries.join_all().await;
            let runs = |b: &&BeginResult| matches!(b, BeginResult::New(_) | BeginResult::Retry(_));
            assert_eq!(begun.iter().filter(runs).count(), 1);
            for one in begun {
                if let BeginResult::New(claim) | BeginResult::Retry(claim) = one {
                    claim.begin();
                    assert!(claim.abandon().await.unwrap());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_record_says_nothing_to_whoever_reads_the_store_and_is_not_guessed_at() {
    let store = Store::memory(1 << 20, &Env::real());
    let memory = memory(store.clone());
    let claim = first(begin(&memory, 7).await);
    let key = claim.key.clone();
    assert!(claim.done(b"card 1111").await.unwrap());
    let kept = store.get_many(&[key]).await.unwrap().remove(0).unwrap();
    for secret in [&b"1111"[..], &[7; 32]] {
        assert!(!kept.windows(secret.len()).any(|w| w == secret));
    }
    // Under another sealing key nobody knows what it was: then nothing is done.
    let stranger = Idempotency::new(store, seal(2), &shared());
    let wanted = IdempotentWrite {
        whose: b"alice",
        name: &[b"checkout", b"k"],
        body_hash: [7; 32],
        longest: LONG,
    };
    assert_eq!(stranger.begin(wanted).await.unwrap_err(), StoreUnavailable);
}
