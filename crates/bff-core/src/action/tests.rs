//! What an action of three steps comes to, whichever of them fails and however.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio_util::task::TaskTracker;

use super::*;
use crate::context::{Env, GatewayHandles, RequestContext};
use crate::error::{Error, codes};
use crate::outbound::budget::{self, Budget};
use crate::outbound::{Failure, Fetched, Provenance, Reason};
use crate::scope::{CacheVisibility, Caller, Identity, Public};
use crate::store::{self, RecordCipher, Store};

fn cx() -> RequestContext {
    let shared = Arc::new(GatewayHandles {
        client: HeaderValue::from_static("test"),
        env: Env::real(),
        tasks: TaskTracker::new(),
        shutdown: tokio_util::sync::CancellationToken::new(),
        metrics: crate::telemetry::Metrics::noop(),
        cache: crate::cache::Cache::new(&crate::cache::Config::default(), &Env::real()),
        fields: crate::section::fields::FieldCache::default(),
    });
    RequestContext::background(&shared, Duration::from_secs(60))
}

async fn done() -> Result<Fetched<(), Public>, Failure> {
    let from = Provenance::fresh("backend", Duration::ZERO, CacheVisibility::default());
    Ok(Fetched::new(Arc::new(()), from))
}

fn refused() -> Failure {
    Failure::new(Reason::BadResponse)
        .with_response(StatusCode::from_u16(402).unwrap(), bytes::Bytes::new())
}

fn asked(body: &str) -> WriteRequest {
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

/// The code and what is told of the steps `a` and `b`, when `b` comes to `b` and undoing `a` comes to `undone`.
async fn told(b: Failure, undone: Result<(), Failure>) -> (&'static str, serde_json::Value) {
    told_by(
        &WriteAttempt::new("act", asked(""), false, Arc::default()),
        b,
        undone,
    )
    .await
}

/// The same by a try that is not the first.
async fn told_again(b: Failure) -> (&'static str, serde_json::Value) {
    told_by(
        &WriteAttempt::new("act", asked(""), true, Arc::default()),
        b,
        Ok(()),
    )
    .await
}

async fn told_by(
    run: &WriteAttempt,
    b: Failure,
    undone: Result<(), Failure>,
) -> (&'static str, serde_json::Value) {
    let steps = Saga::of(&cx(), run);
    let outcome = async {
        steps.step("a", "made", done()).await?;
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
async fn a_refused_step_undoes_those_before_it() {
    let (code, steps) = told(refused(), Ok(())).await;
    assert_eq!(code, "bad_response");
    assert_eq!(steps, serde_json::json!({"a": "unmade", "b": "declined"}));
}

#[tokio::test]
async fn an_unknown_step_undoes_nothing() {
    let unknown = Failure::new(Reason::Timeout).for_write(true);
    let (code, steps) = told(unknown, Ok(())).await;
    assert_eq!(code, "outcome_unknown");
    assert_eq!(steps, serde_json::json!({"a": "made", "b": "unknown"}));
}

#[tokio::test]
async fn what_cannot_be_undone_is_said_to_stand() {
    let never = Failure::new(Reason::CircuitOpen).not_sent();
    let (code, steps) = told(refused(), Err(never)).await;
    assert_eq!(code, "bad_response");
    assert_eq!(steps, serde_json::json!({"a": "made", "b": "declined"}));
}

#[tokio::test]
async fn undoing_that_may_have_happened_leaves_the_whole_unknown() {
    let lost = Failure::new(Reason::Timeout).for_write(true);
    let (code, steps) = told(refused(), Err(lost)).await;
    assert_eq!(code, "outcome_unknown");
    assert_eq!(steps, serde_json::json!({"a": "unknown", "b": "declined"}));
}

#[tokio::test]
async fn what_never_left_is_not_done() {
    let never = Failure::new(Reason::Unavailable).not_sent();
    let (code, steps) = told(never, Ok(())).await;
    assert_eq!(code, "unavailable");
    assert_eq!(steps, serde_json::json!({"a": "unmade", "b": "not_done"}));
}

#[tokio::test]
async fn what_was_done_twice_over_stands_as_it_was() {
    // A second word for the same step is not what undoing leaves standing.
    let run = WriteAttempt::new("act", asked(""), false, Arc::default());
    let steps = Saga::of(&cx(), &run);
    let outcome = async {
        steps.step("a", "made", done()).await?;
        let never = || Failure::new(Reason::CircuitOpen).not_sent();
        steps.compensate_with("a", "unmade", move |_| async move { Err::<(), _>(never()) });
        let failed: Result<Fetched<(), Public>, _> = Err(never());
        steps.step("a", "finished", async { failed }).await?;
        Ok(())
    }
    .await;
    let error = steps.end(outcome).await.unwrap_err().error();
    let problem: serde_json::Value = serde_json::from_slice(&error.problem("", "/", "r")).unwrap();
    assert_eq!(problem["steps"], serde_json::json!({"a": "made"}));
}

#[tokio::test]
async fn one_budget_of_extra_attempts_governs_the_steps_and_their_undoing() {
    let (cx, now) = (cx(), tokio::time::Instant::now());
    let backend = Budget::new(&budget::Config::default(), now);
    let spent = [(); 2].map(|()| AtomicBool::new(false));
    let run = WriteAttempt::new("act", asked(""), false, Arc::default());
    let steps = Saga::of(&cx, &run);
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
    assert_eq!(cx.retry_allowance().left(), 0);
}

#[tokio::test]
async fn only_a_refusal_settles_what_an_earlier_try_may_have_done() {
    let never = Failure::new(Reason::Unavailable).not_sent();
    let (code, steps) = told_again(never).await;
    assert_eq!(code, "outcome_unknown");
    assert_eq!(steps, serde_json::json!({"a": "made", "b": "unknown"}));
    let (code, steps) = told_again(refused()).await;
    assert_eq!(code, "bad_response");
    assert_eq!(steps, serde_json::json!({"a": "unmade", "b": "declined"}));
}

#[tokio::test]
async fn what_a_backend_still_does_is_not_refused() {
    let running = Failure::new(Reason::BadResponse)
        .with_response(StatusCode::CONFLICT, Bytes::new())
        .with_public_error(Error::new(codes::IN_PROGRESS, ""));
    let (code, steps) = told(running, Ok(())).await;
    assert_eq!(code, "outcome_unknown");
    assert_eq!(steps, serde_json::json!({"a": "made", "b": "unknown"}));
}

/// Of one that ended without a word the same again may meet what is no verdict: a proxy's refusal, a missing route.
#[tokio::test]
async fn a_stray_refusal_does_not_settle_what_an_earlier_try_did() {
    for (reason, status) in [
        (Reason::BadResponse, StatusCode::IM_A_TEAPOT),
        (Reason::BadResponse, StatusCode::CONFLICT),
        (Reason::Forbidden, StatusCode::FORBIDDEN),
        (Reason::NotFound, StatusCode::NOT_FOUND),
        (Reason::Overloaded, StatusCode::TOO_MANY_REQUESTS),
    ] {
        let stray = || Failure::new(reason).with_response(status, Bytes::new());
        let (code, steps) = told_again(stray()).await;
        assert_eq!(code, "outcome_unknown", "{status}");
        assert_eq!(steps, serde_json::json!({"a": "made", "b": "unknown"}));
        let (_, steps) = told(stray(), Ok(())).await;
        assert_eq!(steps, serde_json::json!({"a": "unmade", "b": "refused"}));
        let verdict = stray().with_public_error(Error::new(codes::VALIDATION_FAILED, ""));
        let (_, steps) = told_again(verdict).await;
        assert_eq!(steps["a"], "unmade", "{status}");
    }
}

/// A memory, and a context to write in.
fn writes(store: Store) -> (IdempotentWrites, RequestContext) {
    let cx = cx();
    let seal = RecordCipher::open(&store::Config::default(), cx.world()).unwrap();
    (IdempotentWrites::new(store, seal, &[], cx.shared()), cx)
}

fn in_process() -> (IdempotentWrites, RequestContext) {
    writes(Store::memory(1 << 20, &Env::real()))
}

/// One try that takes a step which comes to `outcome`.
async fn attempt(
    (writes, cx): &(IdempotentWrites, RequestContext),
    body: &str,
    outcome: Result<u32, Failure>,
) -> Result<Bytes, Error> {
    let work = |cx, run| async move {
        let steps = Saga::of(&cx, &run);
        let step = async { outcome.map(fetched) };
        let taken = steps.step("a", "made", step).await;
        steps.end(taken).await.map(|value| *value)
    };
    let created: Created<u32> = writes.run_once(cx, "act", asked(body), work).await?;
    Ok(created.body)
}

fn fetched(value: u32) -> Fetched<u32, Public> {
    let from = Provenance::fresh("backend", Duration::ZERO, CacheVisibility::default());
    Fetched::new(Arc::new(value), from)
}

fn code(outcome: Result<Bytes, Error>) -> &'static str {
    outcome.unwrap_err().code().name()
}

#[tokio::test]
async fn the_same_write_again_gets_the_same_answer() {
    let memory = in_process();
    assert_eq!(attempt(&memory, "b", Ok(7)).await.unwrap(), "7");
    // What would come of it now does not matter: it is not done.
    assert_eq!(attempt(&memory, "b", Ok(8)).await.unwrap(), "7");
    assert_eq!(code(attempt(&memory, "c", Ok(9)).await), "key_reused");
}

#[tokio::test]
async fn a_refusal_stands() {
    let memory = in_process();
    let refused = refused().with_public_error(Error::new(codes::GONE, "Sold out."));
    let first = attempt(&memory, "b", Err(refused)).await.unwrap_err();
    let again = attempt(&memory, "b", Ok(8)).await.unwrap_err();
    assert_eq!(again.problem("", "/", "r"), first.problem("", "/", "r"));
    assert_eq!(again.code(), codes::GONE);
}

#[tokio::test]
async fn what_is_unknown_is_learned_by_the_same_write() {
    let memory = in_process();
    let lost = || Failure::new(Reason::Timeout).for_write(true);
    assert_eq!(
        code(attempt(&memory, "b", Err(lost())).await),
        "outcome_unknown"
    );
    assert_eq!(code(attempt(&memory, "c", Ok(1)).await), "key_reused");
    // Not sent this time, it may still have been done the first time.
    let never = Failure::new(Reason::CircuitOpen).not_sent();
    assert_eq!(
        code(attempt(&memory, "b", Err(never)).await),
        "outcome_unknown"
    );
    assert_eq!(attempt(&memory, "b", Ok(7)).await.unwrap(), "7");
}

#[tokio::test]
async fn what_was_not_begun_may_start_again_and_be_another() {
    let memory = in_process();
    let never = Failure::new(Reason::CircuitOpen).not_sent();
    assert_eq!(
        code(attempt(&memory, "b", Err(never)).await),
        "circuit_open"
    );
    assert_eq!(attempt(&memory, "c", Ok(7)).await.unwrap(), "7");
}

#[tokio::test]
async fn who_panics_halfway_leaves_it_unknown_and_who_does_before_leaves_nothing() {
    for begins in [true, false] {
        let memory = in_process();
        let work = move |cx, run: WriteAttempt| async move {
            if begins {
                let steps = Saga::of(&cx, &run);
                steps.step("a", "made", done()).await?;
            }
            assert!(cx.time_left().is_zero(), "on purpose");
            Ok(0)
        };
        let panics: Result<Created<u32>, _> =
            memory.0.run_once(&memory.1, "act", asked("b"), work).await;
        assert_eq!(panics.unwrap_err().code(), codes::OUTCOME_UNKNOWN);
        let other = attempt(&memory, "c", Ok(1)).await;
        assert_eq!(other.is_err(), begins);
        assert_eq!(attempt(&memory, "b", Ok(7)).await.is_ok(), begins);
    }
}

#[tokio::test]
async fn a_client_who_stops_waiting_has_written() {
    let memory = in_process();
    let (says, mut heard) = tokio::sync::mpsc::channel::<()>(1);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let work = move |_, run: WriteAttempt| async move {
        run.begin();
        says.send(()).await.ok();
        ended.await.ok();
        Ok(7u32)
    };
    let (writes, cx) = memory.clone();
    let client = tokio::spawn(async move { writes.run_once(&cx, "act", asked("b"), work).await });
    heard.recv().await;
    let meanwhile = attempt(&memory, "b", Ok(8)).await.unwrap_err();
    assert_eq!(meanwhile.code(), codes::IN_PROGRESS);
    assert_eq!(meanwhile.retry_hint(), Some(Duration::from_secs(1)));
    client.abort();
    end.send(()).unwrap();
    let tasks = &memory.1.shared().tasks;
    tasks.close();
    tasks.wait().await;
    tasks.reopen();
    assert_eq!(attempt(&memory, "b", Ok(8)).await.unwrap(), "7");
}

#[tokio::test]
async fn with_its_memory_away_nothing_is_done() {
    let config = store::Config {
        // Nothing listens there.
        url: Some(crate::config::Secret::new("redis://127.0.0.1:1")),
        ..store::Config::default()
    };
    let memory = writes(Store::open(&config, &Env::real()).unwrap());
    let work = |_, _| async { panic!("it was done") };
    let away: Result<Created<u32>, _> = memory.0.run_once(&memory.1, "act", asked("b"), work).await;
    let away = away.unwrap_err();
    assert_eq!(
        (away.code(), away.retry_hint()),
        (codes::UNAVAILABLE, Some(Duration::from_secs(1)))
    );
}

#[tokio::test]
async fn what_could_not_be_undone_is_undone_by_the_same_write() {
    let (writes, cx) = in_process();
    for (undone, told) in [
        (
            Err(Failure::new(Reason::CircuitOpen).not_sent()),
            ["made", "made"],
        ),
        (Ok(()), ["unmade", "unmade"]),
        // The refusal stands by now.
        (Err(Failure::new(Reason::Timeout)), ["unmade", "unmade"]),
    ] {
        let work = |cx, run| async move {
            let steps = Saga::of(&cx, &run);
            let outcome = async {
                for step in ["a", "b"] {
                    let undone = undone.clone();
                    steps.step(step, "made", done()).await?;
                    steps.compensate_with(step, "unmade", move |_| async { undone });
                }
                let refused = refused().with_public_error(Error::new(codes::GONE, "Sold out."));
                let failed: Result<Fetched<u32, Public>, _> = Err(refused);
                steps.step("c", "made", async { failed }).await
            }
            .await;
            steps.end(outcome).await.map(|value| *value)
        };
        let refused: Result<Created<u32>, _> = writes.run_once(&cx, "act", asked("b"), work).await;
        let refused = refused.unwrap_err();
        let problem: serde_json::Value =
            serde_json::from_slice(&refused.problem("", "/", "r")).unwrap();
        let steps = ["a", "b"].map(|step| problem["steps"][step].as_str().unwrap());
        assert_eq!((refused.code(), steps), (codes::GONE, told));
    }
}
