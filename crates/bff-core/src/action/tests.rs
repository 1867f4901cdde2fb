//! Outcomes of sagas and idempotent writes, for each way a step can fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio_util::task::TaskTracker;

use super::*;
use crate::GatewayHandles;
use crate::context::{Env, RequestContext};
use crate::error::{Error, codes};
use crate::outbound::budget::{self, Budget};
use crate::outbound::{Failure, Fetched, Provenance, Reason};
use crate::scope::{CacheVisibility, Caller, Identity, Public};
use crate::store::{self, RecordCipher, Store};

fn cx() -> RequestContext {
    let shared = Arc::new(GatewayHandles::in_process("test", Env::real()));
    RequestContext::background(&shared.client, &shared.env, Duration::from_secs(60))
}

async fn succeed() -> Result<Fetched<(), Public>, Failure> {
    let from = Provenance::fresh("backend", Duration::ZERO, CacheVisibility::default());
    Ok(bff_context::trusted::fetched(Arc::new(()), from))
}

fn refused() -> Failure {
    Failure::new(Reason::BadResponse)
        .with_response(StatusCode::from_u16(402).unwrap(), bytes::Bytes::new())
}

fn write_request(body: &str) -> WriteRequest {
    let identity = Identity {
        account: "ada".into(),
        ..Identity::default()
    };
    WriteRequest::new(
        Caller::new(identity).unwrap(),
        "k".parse().unwrap(),
        body.as_bytes(),
    )
}

/// The error code and step outcomes when step `b` fails with `b` and the compensation of step `a` returns `undone`.
async fn outcome_after(
    b: Failure,
    undone: Result<(), Failure>,
) -> (&'static str, serde_json::Value) {
    outcome_of(
        &WriteAttempt::new("act", write_request(""), false, Arc::default()),
        b,
        undone,
    )
    .await
}

/// Like [`outcome_after`], for an attempt that follows one without a stored outcome.
async fn outcome_of_retry(b: Failure) -> (&'static str, serde_json::Value) {
    outcome_of(
        &WriteAttempt::new("act", write_request(""), true, Arc::default()),
        b,
        Ok(()),
    )
    .await
}

async fn outcome_of(
    attempt: &WriteAttempt,
    b: Failure,
    undone: Result<(), Failure>,
) -> (&'static str, serde_json::Value) {
    let steps = Saga::new(&cx(), attempt);
    let outcome = async {
        steps.step("a", "made", succeed()).await?;
        steps.compensate_with("a", "unmade", |_| async { undone });
        let failed: Result<Fetched<(), Public>, _> = Err(b);
        steps.step("b", "made", async { failed }).await?;
        Ok(())
    }
    .await;
    let error = steps.end(outcome).await.unwrap_err().error();
    let problem = error.problem("", "/", "r");
    let problem: serde_json::Value = serde_json::from_slice(&problem).unwrap();
    (error.code().name(), problem["steps"].clone())
}

#[tokio::test]
async fn a_refused_step_compensates_the_steps_before_it() {
    let (code, steps) = outcome_after(refused(), Ok(())).await;
    assert_eq!(code, "bad_response");
    assert_eq!(steps, serde_json::json!({"a": "unmade", "b": "declined"}));
}

#[tokio::test]
async fn an_unknown_step_compensates_nothing() {
    let unknown = Failure::new(Reason::Timeout).for_write(true);
    let (code, steps) = outcome_after(unknown, Ok(())).await;
    assert_eq!(code, "outcome_unknown");
    assert_eq!(steps, serde_json::json!({"a": "made", "b": "unknown"}));
}

#[tokio::test]
async fn a_step_whose_compensation_fails_keeps_its_outcome() {
    let unsent = Failure::new(Reason::CircuitOpen).not_sent();
    let (code, steps) = outcome_after(refused(), Err(unsent)).await;
    assert_eq!(code, "bad_response");
    assert_eq!(steps, serde_json::json!({"a": "made", "b": "declined"}));
}

#[tokio::test]
async fn a_compensation_with_unknown_outcome_makes_the_write_unknown() {
    let lost = Failure::new(Reason::Timeout).for_write(true);
    let (code, steps) = outcome_after(refused(), Err(lost)).await;
    assert_eq!(code, "outcome_unknown");
    assert_eq!(steps, serde_json::json!({"a": "unknown", "b": "declined"}));
}

#[tokio::test]
async fn a_step_that_was_not_sent_is_not_done() {
    let unsent = Failure::new(Reason::Unavailable).not_sent();
    let (code, steps) = outcome_after(unsent, Ok(())).await;
    assert_eq!(code, "unavailable");
    assert_eq!(steps, serde_json::json!({"a": "unmade", "b": "not_done"}));
}

#[tokio::test]
async fn a_failed_compensation_restores_the_outcome_before_it_was_added() {
    // A failed second call of step "a" changes its outcome after the compensation was added.
    let attempt = WriteAttempt::new("act", write_request(""), false, Arc::default());
    let steps = Saga::new(&cx(), &attempt);
    let outcome = async {
        steps.step("a", "made", succeed()).await?;
        let unsent = || Failure::new(Reason::CircuitOpen).not_sent();
        steps.compensate_with(
            "a",
            "unmade",
            move |_| async move { Err::<(), _>(unsent()) },
        );
        let failed: Result<Fetched<(), Public>, _> = Err(unsent());
        steps.step("a", "finished", async { failed }).await?;
        Ok(())
    }
    .await;
    let error = steps.end(outcome).await.unwrap_err().error();
    let problem: serde_json::Value = serde_json::from_slice(&error.problem("", "/", "r")).unwrap();
    assert_eq!(problem["steps"], serde_json::json!({"a": "made"}));
}

#[tokio::test]
async fn steps_and_compensations_share_one_retry_allowance() {
    let (cx, now) = (cx(), tokio::time::Instant::now());
    let backend = Budget::new(&budget::Config::default(), now);
    let spent = [(); 2].map(|()| AtomicBool::new(false));
    let attempt = WriteAttempt::new("act", write_request(""), false, Arc::default());
    let steps = Saga::new(&cx, &attempt);
    assert!(backend.spend(cx.retry_allowance(), now) && backend.spend(cx.retry_allowance(), now));
    steps.compensate_with("a", "unmade", |cx| {
        for spent in &spent {
            spent.store(backend.spend(cx.retry_allowance(), now), Relaxed);
        }
        async { Ok(()) }
    });
    let refused: Result<(), Failure> = Err(refused());
    assert!(steps.end(refused).await.is_err());
    assert_eq!(spent.map(AtomicBool::into_inner), [true, false]);
    assert_eq!(cx.retry_allowance().remaining(), 0);
}

#[tokio::test]
async fn only_a_refusal_decides_an_earlier_unknown_attempt() {
    let unsent = Failure::new(Reason::Unavailable).not_sent();
    let (code, steps) = outcome_of_retry(unsent).await;
    assert_eq!(code, "outcome_unknown");
    assert_eq!(steps, serde_json::json!({"a": "made", "b": "unknown"}));
    let (code, steps) = outcome_of_retry(refused()).await;
    assert_eq!(code, "bad_response");
    assert_eq!(steps, serde_json::json!({"a": "unmade", "b": "declined"}));
}

#[tokio::test]
async fn a_call_that_the_backend_still_executes_is_unknown() {
    let running = Failure::new(Reason::BadResponse)
        .with_response(StatusCode::CONFLICT, Bytes::new())
        .with_public_error(Error::new(codes::IN_PROGRESS, ""));
    let (code, steps) = outcome_after(running, Ok(())).await;
    assert_eq!(code, "outcome_unknown");
    assert_eq!(steps, serde_json::json!({"a": "made", "b": "unknown"}));
}

/// A retry may get a 4xx from a proxy or a missing route. That says nothing about the earlier attempt.
#[tokio::test]
async fn an_unspecific_4xx_does_not_decide_an_earlier_unknown_attempt() {
    for (reason, status) in [
        (Reason::BadResponse, StatusCode::IM_A_TEAPOT),
        (Reason::BadResponse, StatusCode::CONFLICT),
        (Reason::Forbidden, StatusCode::FORBIDDEN),
        (Reason::NotFound, StatusCode::NOT_FOUND),
        (Reason::Overloaded, StatusCode::TOO_MANY_REQUESTS),
    ] {
        let unspecific = || Failure::new(reason).with_response(status, Bytes::new());
        let (code, steps) = outcome_of_retry(unspecific()).await;
        assert_eq!(code, "outcome_unknown", "{status}");
        assert_eq!(steps, serde_json::json!({"a": "made", "b": "unknown"}));
        let (_, steps) = outcome_after(unspecific(), Ok(())).await;
        assert_eq!(steps, serde_json::json!({"a": "unmade", "b": "refused"}));
        let rejection = unspecific().with_public_error(Error::invalid_at("/a", "wrong"));
        let (_, steps) = outcome_of_retry(rejection).await;
        assert_eq!(steps["a"], "unmade", "{status}");
    }
}

/// Idempotent writes over `store`, and a request context.
fn writes_in(store: Store) -> (IdempotentWrites, RequestContext) {
    let cx = cx();
    let cipher = RecordCipher::open(&store::Config::default(), &Env::real()).unwrap();
    let tasks = TaskTracker::new();
    (
        IdempotentWrites::new(store, cipher, &[], cx.client(), &tasks),
        cx,
    )
}

fn in_process() -> (IdempotentWrites, RequestContext) {
    writes_in(Store::memory(1 << 20, &Env::real()))
}

/// Sends one write whose only step returns `outcome`.
async fn write(
    (writes, cx): &(IdempotentWrites, RequestContext),
    body: &str,
    outcome: Result<u32, Failure>,
) -> Result<Bytes, Error> {
    let work = |cx, attempt| async move {
        let steps = Saga::new(&cx, &attempt);
        let step = async { outcome.map(fetched) };
        let outcome = steps.step("a", "made", step).await;
        steps.end(outcome).await.map(|value| *value)
    };
    let created: Created<u32> = writes
        .run_once(cx, "act", write_request(body), work)
        .await?;
    Ok(created.json)
}

fn fetched(value: u32) -> Fetched<u32, Public> {
    let from = Provenance::fresh("backend", Duration::ZERO, CacheVisibility::default());
    bff_context::trusted::fetched(Arc::new(value), from)
}

fn error_code(outcome: Result<Bytes, Error>) -> &'static str {
    outcome.unwrap_err().code().name()
}

#[tokio::test]
async fn a_retry_gets_the_stored_response() {
    let writes = in_process();
    assert_eq!(write(&writes, "b", Ok(7)).await.unwrap(), "7");
    // The retry would return 8, but it is not executed.
    assert_eq!(write(&writes, "b", Ok(8)).await.unwrap(), "7");
    assert_eq!(error_code(write(&writes, "c", Ok(9)).await), "key_reused");
}

#[tokio::test]
async fn a_retry_gets_the_stored_refusal() {
    let writes = in_process();
    let refused = refused().with_public_error(Error::new(codes::GONE, "Sold out."));
    let first = write(&writes, "b", Err(refused)).await.unwrap_err();
    let again = write(&writes, "b", Ok(8)).await.unwrap_err();
    assert_eq!(again.problem("", "/", "r"), first.problem("", "/", "r"));
    assert_eq!(again.code(), codes::GONE);
}

#[tokio::test]
async fn a_retry_finds_out_an_unknown_outcome() {
    let writes = in_process();
    let lost = || Failure::new(Reason::Timeout).for_write(true);
    assert_eq!(
        error_code(write(&writes, "b", Err(lost())).await),
        "outcome_unknown"
    );
    assert_eq!(error_code(write(&writes, "c", Ok(1)).await), "key_reused");
    // The retry was not sent, but the backend may have executed the first attempt.
    let unsent = Failure::new(Reason::CircuitOpen).not_sent();
    assert_eq!(
        error_code(write(&writes, "b", Err(unsent)).await),
        "outcome_unknown"
    );
    assert_eq!(write(&writes, "b", Ok(7)).await.unwrap(), "7");
}

#[tokio::test]
async fn a_write_that_was_not_started_frees_its_key() {
    let writes = in_process();
    let unsent = Failure::new(Reason::CircuitOpen).not_sent();
    assert_eq!(
        error_code(write(&writes, "b", Err(unsent)).await),
        "circuit_open"
    );
    assert_eq!(write(&writes, "c", Ok(7)).await.unwrap(), "7");
}

#[tokio::test]
async fn a_panic_after_a_step_started_is_unknown_and_before_it_frees_the_key() {
    for starts_step in [true, false] {
        let writes = in_process();
        let work = move |cx, attempt: WriteAttempt| async move {
            if starts_step {
                let steps = Saga::new(&cx, &attempt);
                steps.step("a", "made", succeed()).await?;
            }
            assert!(cx.time_left().is_zero(), "on purpose");
            Ok(0)
        };
        let outcome: Result<Created<u32>, _> = writes
            .0
            .run_once(&writes.1, "act", write_request("b"), work)
            .await;
        assert_eq!(outcome.unwrap_err().code(), codes::OUTCOME_UNKNOWN);
        let other = write(&writes, "c", Ok(1)).await;
        assert_eq!(other.is_err(), starts_step);
        assert_eq!(write(&writes, "b", Ok(7)).await.is_ok(), starts_step);
    }
}

#[tokio::test]
async fn a_write_completes_after_its_client_disconnected() {
    let writes = in_process();
    let (started, mut wait_started) = tokio::sync::mpsc::channel::<()>(1);
    let (finish, wait_finish) = tokio::sync::oneshot::channel::<()>();
    let work = move |_, attempt: WriteAttempt| async move {
        attempt.mark_started();
        started.send(()).await.ok();
        wait_finish.await.ok();
        Ok(7u32)
    };
    let (idempotent, cx) = writes.clone();
    let client = tokio::spawn(async move {
        idempotent
            .run_once(&cx, "act", write_request("b"), work)
            .await
    });
    wait_started.recv().await;
    let meanwhile = write(&writes, "b", Ok(8)).await.unwrap_err();
    assert_eq!(meanwhile.code(), codes::IN_PROGRESS);
    assert_eq!(meanwhile.retry_hint(), Some(Duration::from_secs(1)));
    client.abort();
    finish.send(()).unwrap();
    let tasks = writes.0.tasks();
    tasks.close();
    tasks.wait().await;
    tasks.reopen();
    assert_eq!(write(&writes, "b", Ok(8)).await.unwrap(), "7");
}

#[tokio::test]
async fn nothing_is_executed_while_the_store_is_unavailable() {
    let config = store::Config {
        // Nothing listens on this port.
        url: Some(crate::config::Secret::new("redis://127.0.0.1:1")),
        ..store::Config::default()
    };
    let writes = writes_in(Store::open(&config, &Env::real()).unwrap());
    let work = |_, _| async { panic!("the write was executed") };
    let outcome: Result<Created<u32>, _> = writes
        .0
        .run_once(&writes.1, "act", write_request("b"), work)
        .await;
    let error = outcome.unwrap_err();
    assert_eq!(
        (error.code(), error.retry_hint()),
        (codes::UNAVAILABLE, Some(Duration::from_secs(1)))
    );
}

#[tokio::test]
async fn a_retry_runs_the_compensation_that_failed() {
    let (writes, cx) = in_process();
    for (undone, expected) in [
        (
            Err(Failure::new(Reason::CircuitOpen).not_sent()),
            ["made", "made"],
        ),
        (Ok(()), ["unmade", "unmade"]),
        // The stored refusal is replayed by now.
        (Err(Failure::new(Reason::Timeout)), ["unmade", "unmade"]),
    ] {
        let work = |cx, attempt| async move {
            let steps = Saga::new(&cx, &attempt);
            let outcome = async {
                for step in ["a", "b"] {
                    let undone = undone.clone();
                    steps.step(step, "made", succeed()).await?;
                    steps.compensate_with(step, "unmade", move |_| async { undone });
                }
                let refused = refused().with_public_error(Error::new(codes::GONE, "Sold out."));
                let failed: Result<Fetched<u32, Public>, _> = Err(refused);
                steps.step("c", "made", async { failed }).await
            }
            .await;
            steps.end(outcome).await.map(|value| *value)
        };
        let refused: Result<Created<u32>, _> =
            writes.run_once(&cx, "act", write_request("b"), work).await;
        let refused = refused.unwrap_err();
        let problem: serde_json::Value =
            serde_json::from_slice(&refused.problem("", "/", "r")).unwrap();
        let steps = ["a", "b"].map(|step| problem["steps"][step].as_str().unwrap());
        assert_eq!((refused.code(), steps), (codes::GONE, expected));
    }
}
