//! What an action of three steps comes to, whichever of them fails and however.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::*;
use crate::context::{Shared, World};
use crate::outbound::{Provenance, Reason};
use crate::scope::{Public, Sharing};

fn cx() -> Cx {
    let shared = Arc::new(Shared {
        client: HeaderValue::from_static("test"),
        world: World::real(),
        tasks: TaskTracker::new(),
        leaving: tokio_util::sync::CancellationToken::new(),
        metrics: crate::telemetry::Metrics::unread(),
        cache: crate::cache::Cache::new(&crate::cache::Config::default(), &World::real()),
        fields: crate::section::fields::Known::default(),
    });
    Cx::background(&shared, Duration::from_secs(1))
}

async fn done() -> Result<Fetched<(), Public>, Failure> {
    let from = Provenance::fresh("backend", Duration::ZERO, Sharing::default());
    Ok(Fetched::new(Arc::new(()), from))
}

fn refused() -> Failure {
    Failure::new(Reason::BadResponse)
        .answer(StatusCode::from_u16(402).unwrap(), bytes::Bytes::new())
}

/// The code and what is told of the steps `a` and `b`, when `b` comes to `b` and undoing `a` comes to `undone`.
async fn told(b: Failure, undone: Result<(), Failure>) -> (&'static str, serde_json::Value) {
    let steps = Steps::of(&cx());
    let outcome = async {
        steps.take("a", "made", done()).await?;
        steps.undone_by("a", "unmade", |_| async { undone });
        let failed: Result<Fetched<(), Public>, _> = Err(b);
        steps.take("b", "made", async { failed }).await?;
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
    let unknown = Failure::new(Reason::Timeout).after(true);
    let (code, steps) = told(unknown, Ok(())).await;
    assert_eq!(code, "outcome_unknown");
    assert_eq!(steps, serde_json::json!({"a": "made", "b": "unknown"}));
}

#[tokio::test]
async fn what_cannot_be_undone_is_said_to_stand() {
    let never = Failure::new(Reason::CircuitOpen).unsent();
    let (code, steps) = told(refused(), Err(never)).await;
    assert_eq!(code, "bad_response");
    assert_eq!(steps, serde_json::json!({"a": "made", "b": "declined"}));
}

#[tokio::test]
async fn undoing_that_may_have_happened_leaves_the_whole_unknown() {
    let lost = Failure::new(Reason::Timeout).after(true);
    let (code, steps) = told(refused(), Err(lost)).await;
    assert_eq!(code, "outcome_unknown");
    assert_eq!(steps, serde_json::json!({"a": "unknown", "b": "declined"}));
}

#[tokio::test]
async fn what_never_left_is_not_done() {
    let never = Failure::new(Reason::Unavailable).unsent();
    let (code, steps) = told(never, Ok(())).await;
    assert_eq!(code, "unavailable");
    assert_eq!(steps, serde_json::json!({"a": "unmade", "b": "not_done"}));
}
