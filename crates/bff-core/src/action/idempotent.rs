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

use super::{COMPENSATION_TIMEOUT, Created, WriteAttempt, WriteRequest};
use crate::context::{GatewayHandles, RequestContext};
use crate::error::{Code, Error, StoredError, codes};
use crate::outbound::Failure;
use crate::store::{BeginResult, Claim, Idempotency, IdempotentWrite, RecordCipher, Store};

/// What a write may take beyond its request's time and undoing: what it does at the store.
const MARGIN: Duration = Duration::from_secs(2);

/// When to ask again for a write that still runs, or whose memory is away.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// An answer is kept behind one of these.
const DONE: u8 = b'd';
const REFUSED: u8 = b'r';

/// The memory of a gateway's writes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IdempotentWrites {
    memory: Idempotency,
    /// Another client class has answers of another shape.
    client: HeaderValue,
    codes: &'static [Code],
}

impl IdempotentWrites {
    /// Writes remembered in `store`. `codes` are those of the gateway's domain that refusals are told with.
    pub fn new(
        store: Store,
        seal: RecordCipher,
        codes: &'static [Code],
        shared: &GatewayHandles,
    ) -> Self {
        Self {
            memory: Idempotency::new(store, seal, shared),
            client: shared.client.clone(),
            codes,
        }
    }

    /// Does a write that was not done yet, to its end even when the client hangs up, and tells what it came to.
    /// `operation` is what the client's key is a key of.
    pub async fn run_once<T, F>(
        &self,
        cx: &RequestContext,
        operation: &'static str,
        asked: WriteRequest,
        work: impl FnOnce(RequestContext, WriteAttempt) -> F + Send + 'static,
    ) -> Result<Created<T>, Error>
    where
        T: Serialize + Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let (writes, of) = (self.clone(), cx.clone());
        let work = async move { Ok(writes.run_once_inline(&of, operation, asked, work).await) };
        cx.to_completion(work).await?
    }

    /// The same, ended where it is when it is dropped.
    pub async fn run_once_inline<T, F>(
        &self,
        cx: &RequestContext,
        operation: &'static str,
        asked: WriteRequest,
        work: impl FnOnce(RequestContext, WriteAttempt) -> F,
    ) -> Result<Created<T>, Error>
    where
        T: Serialize,
        F: Future<Output = Result<T, Failure>>,
    {
        let (account, profile) = asked.caller.account_and_profile();
        let key = asked.key.as_str();
        let name = [
            self.client.as_bytes(),
            profile.as_bytes(),
            operation.as_bytes(),
        ];
        let wanted = IdempotentWrite {
            whose: account.as_bytes(),
            name: &[name[0], name[1], name[2], key.as_bytes()],
            body_hash: asked.body_hash,
            longest: cx.time_left() + COMPENSATION_TIMEOUT + MARGIN,
        };
        let (claim, again) = match self.memory.begin(wanted).await {
            Ok(BeginResult::New(claim)) => (claim, false),
            Ok(BeginResult::Retry(claim)) => (claim, true),
            Ok(BeginResult::Completed(answer)) => return self.replay(&answer),
            Ok(BeginResult::KeyReused) => {
                return Err(Error::new(codes::KEY_REUSED, codes::KEY_REUSED.meaning()));
            }
            Ok(BeginResult::InProgress) => {
                let error = Error::new(codes::IN_PROGRESS, codes::IN_PROGRESS.meaning());
                return Err(error.with_retry_after(Some(ASK_AGAIN)));
            }
            Err(away) => {
                let detail = "Nothing was done: what was done before cannot be looked up now.";
                let error = Error::new(codes::UNAVAILABLE, detail).with_cause(away);
                return Err(error.with_retry_after(Some(ASK_AGAIN)));
            }
        };
        let run = WriteAttempt::new(operation, asked, again, claim.begun());
        let left = run.left();
        let outcome = work(cx.clone(), run).await;
        settle(claim, outcome, left.load(Ordering::Relaxed)).await
    }

    /// What was told of a write that is settled.
    fn replay<T>(&self, kept: &Bytes) -> Result<Created<T>, Error> {
        let unreadable = || Error::new(codes::INTERNAL, "The answer that is kept cannot be read.");
        match kept.split_first() {
            Some((&DONE, body)) => Ok(Created::of(kept.slice_ref(body))),
            Some((&REFUSED, refusal)) => {
                let refusal = serde_json::from_slice(refusal).ok();
                Err(refusal
                    .and_then(|refusal: StoredError| refusal.restore(self.codes))
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
        let kept = kept(REFUSED, &StoredError::of(&error))?;
        let _ = claim.done(&kept).await;
    } else {
        let _ = claim.abandon().await;
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
