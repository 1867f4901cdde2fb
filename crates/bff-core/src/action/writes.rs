//! Each write is done once: what it came to is remembered, and told again to whoever repeats it.
//!
//! | what the write came to | the same key and body again |
//! |---|---|
//! | it was done | the same answer |
//! | it was refused, and what was done of it undone | the same refusal |
//! | it was refused, and something could not be undone | it runs again, to undo the rest |
//! | unknown, or its runner is gone | it runs again, to learn: each step has its own key and is done once |
//! | nothing of it was begun | it runs, as if it had never been asked for |
//! | it still runs | 409 `in_progress` |

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderValue;
use serde::Serialize;

use super::{Asked, Created, Run, UNDO_WITHIN};
use crate::context::{Cx, Shared};
use crate::error::{Code, Error, Kept, codes};
use crate::outbound::Failure;
use crate::store::{Begun, Claim, Idempotency, Seal, Store, Wanted};

/// What a write may take beyond its request's time and undoing: what it does at the store.
const MARGIN: Duration = Duration::from_secs(2);

/// When to ask again for a write that still runs, or whose memory is away.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// An answer is kept behind one of these.
const DONE: u8 = b'd';
const REFUSED: u8 = b'r';

/// The memory of a gateway's writes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writes {
    memory: Idempotency,
    /// Another client class has answers of another shape.
    client: HeaderValue,
    codes: &'static [Code],
}

impl Writes {
    /// Writes remembered in `store`. `codes` are those of the gateway's domain that refusals are told with.
    pub fn new(store: Store, seal: Seal, codes: &'static [Code], shared: &Shared) -> Self {
        Self {
            memory: Idempotency::new(store, seal, shared),
            client: shared.client.clone(),
            codes,
        }
    }

    /// Does a write that was not done yet, to its end even when the client hangs up, and tells what it came to.
    /// `operation` is what the client's key is a key of.
    pub async fn once<T, F>(
        &self,
        cx: &Cx,
        operation: &'static str,
        asked: Asked,
        work: impl FnOnce(Cx, Run) -> F + Send + 'static,
    ) -> Result<Created<T>, Error>
    where
        T: Serialize + Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let (writes, of) = (self.clone(), cx.clone());
        let work = async move { Ok(writes.here(&of, operation, asked, work).await) };
        cx.to_completion(work).await?
    }

    /// The same, ended where it is when it is dropped.
    pub async fn here<T, F>(
        &self,
        cx: &Cx,
        operation: &'static str,
        asked: Asked,
        work: impl FnOnce(Cx, Run) -> F,
    ) -> Result<Created<T>, Error>
    where
        T: Serialize,
        F: Future<Output = Result<T, Failure>>,
    {
        let (account, profile) = asked.caller.names();
        let key = asked.key.as_str();
        let name = [
            self.client.as_bytes(),
            profile.as_bytes(),
            operation.as_bytes(),
        ];
        let wanted = Wanted {
            whose: account.as_bytes(),
            name: &[name[0], name[1], name[2], key.as_bytes()],
            body_hash: asked.body_hash,
            longest: cx.time_left() + UNDO_WITHIN + MARGIN,
        };
        let (claim, again) = match self.memory.begin(wanted).await {
            Ok(Begun::First(claim)) => (claim, false),
            Ok(Begun::Again(claim)) => (claim, true),
            Ok(Begun::Done(answer)) => return self.told(&answer),
            Ok(Begun::Reused) => {
                return Err(Error::new(codes::KEY_REUSED, codes::KEY_REUSED.meaning()));
            }
            Ok(Begun::Running) => {
                let error = Error::new(codes::IN_PROGRESS, codes::IN_PROGRESS.meaning());
                return Err(error.retry_after(Some(ASK_AGAIN)));
            }
            Err(away) => {
                let detail = "Nothing was done: what was done before cannot be looked up now.";
                let error = Error::new(codes::UNAVAILABLE, detail).because(away);
                return Err(error.retry_after(Some(ASK_AGAIN)));
            }
        };
        let run = Run::new(operation, asked, again, claim.begun());
        let left = run.left();
        let outcome = work(cx.clone(), run).await;
        settle(claim, outcome, left.load(Ordering::Relaxed)).await
    }

    /// What was told of a write that is settled.
    fn told<T>(&self, kept: &Bytes) -> Result<Created<T>, Error> {
        let unreadable = || Error::new(codes::INTERNAL, "The answer that is kept cannot be read.");
        match kept.split_first() {
            Some((&DONE, body)) => Ok(Created::of(kept.slice_ref(body))),
            Some((&REFUSED, refusal)) => {
                let refusal = serde_json::from_slice(refusal).ok();
                Err(refusal
                    .and_then(|refusal: Kept| refusal.told(self.codes))
                    .unwrap_or_else(unreadable))
            }
            _ => Err(unreadable()),
        }
    }
}

/// Remembers what a write came to; `left` is whether something of a refused one stands. Where that cannot be kept it is
/// told all the same: the same write again learns it from the backends.
async fn settle<T: Serialize>(
    claim: Claim,
    outcome: Result<T, Failure>,
    left: bool,
) -> Result<Created<T>, Error> {
    let failure = match outcome {
        Ok(answer) => {
            let kept = kept(DONE, &answer)?;
            let _ = claim.done(&kept).await;
            return Ok(Created::of(kept.slice(1..)));
        }
        Err(failure) => failure,
    };
    let error = failure.error();
    if error.status().is_client_error() && claim.has_begun() && !left {
        let kept = kept(REFUSED, &Kept::of(&error))?;
        let _ = claim.done(&kept).await;
    } else {
        let _ = claim.leave().await;
    }
    Err(error)
}

fn kept(kind: u8, answer: &impl Serialize) -> Result<Bytes, Error> {
    let mut kept = BytesMut::new();
    kept.put_u8(kind);
    let mut writer = kept.writer();
    serde_json::to_writer(&mut writer, answer).map_err(|e| Failure::internal(e).error())?;
    Ok(writer.into_inner().freeze())
}
