//! Executes each write once, stores its outcome, and replays the outcome to retries.
//!
//! | outcome of the write | retry with the same key and body |
//! |---|---|
//! | succeeded | same response |
//! | refused, all completed steps compensated | same error |
//! | refused, a compensation failed | runs again and compensates the rest |
//! | unknown, or the process stopped | runs again; each step has its own key, so backends execute it once |
//! | no step started | runs like a new write |
//! | still running | 409 `in_progress` |

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderValue;
use serde::Serialize;
use tokio_util::task::TaskTracker;

use super::completion::Completion;
use super::{COMPENSATION_TIMEOUT, Created, WriteAttempt, WriteRequest};
use crate::context::RequestContext;
use crate::error::{Code, Error, StoredError, codes};
use crate::outbound::Failure;
use crate::store::{BeginResult, Claim, Idempotency, IdempotentWrite, RecordCipher, Store};

/// Time for the store's own calls, beyond the request's time and the compensations.
const MARGIN: Duration = Duration::from_secs(2);

/// `Retry-After` when the write still runs or the store is unavailable.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// First byte of a stored outcome: the JSON response follows.
const SUCCEEDED: u8 = b'd';
/// First byte of a stored outcome: a [`StoredError`] follows.
const REFUSED: u8 = b'r';

/// Runs a gateway's writes and stores their outcomes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IdempotentWrites {
    idempotency: Idempotency,
    /// Part of the storage key, because responses differ between gateways.
    client: HeaderValue,
    codes: &'static [Code],
    completion: Completion,
}

impl IdempotentWrites {
    /// Stores outcomes in `store`. `codes` are the gateway's own error codes; a stored error refers to them by name.
    pub fn new(
        store: Store,
        cipher: RecordCipher,
        codes: &'static [Code],
        client: &HeaderValue,
        tasks: &TaskTracker,
    ) -> Self {
        Self {
            idempotency: Idempotency::new(store, cipher, tasks),
            completion: Completion::new(tasks),
            client: client.clone(),
            codes,
        }
    }

    #[cfg(test)]
    pub(super) fn tasks(&self) -> &TaskTracker {
        self.completion.tasks()
    }

    /// Executes a new write or replays the stored outcome. The write completes even if the client disconnects.
    /// An idempotency key is unique per caller and `operation`.
    pub async fn run_once<T, F>(
        &self,
        cx: &RequestContext,
        operation: &'static str,
        request: WriteRequest,
        work: impl FnOnce(RequestContext, WriteAttempt) -> F + Send + 'static,
    ) -> Result<Created<T>, Error>
    where
        T: Serialize + Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let (writes, write_cx) = (self.clone(), cx.clone());
        let work = async move {
            let outcome = writes.run_once_inline(&write_cx, operation, request, work);
            Ok(outcome.await)
        };
        self.completion.run(cx, work).await?
    }

    /// Like [`Self::run_once`], but dropping the future cancels the write.
    pub async fn run_once_inline<T, F>(
        &self,
        cx: &RequestContext,
        operation: &'static str,
        request: WriteRequest,
        work: impl FnOnce(RequestContext, WriteAttempt) -> F,
    ) -> Result<Created<T>, Error>
    where
        T: Serialize,
        F: Future<Output = Result<T, Failure>>,
    {
        let (account, profile) = bff_context::trusted::account_and_profile(&request.caller);
        let key = request.key.as_str();
        let name = [
            self.client.as_bytes(),
            profile.as_bytes(),
            operation.as_bytes(),
        ];
        let write = IdempotentWrite {
            owner: account.as_bytes(),
            key_parts: &[name[0], name[1], name[2], key.as_bytes()],
            body_hash: request.body_hash,
            max_duration: cx.time_left() + COMPENSATION_TIMEOUT + MARGIN,
        };
        let (claim, is_retry) = match self.idempotency.begin(write).await {
            Ok(BeginResult::New(claim)) => (claim, false),
            Ok(BeginResult::Retry(claim)) => (claim, true),
            Ok(BeginResult::Completed(record)) => return self.replay(&record),
            Ok(BeginResult::KeyReused) => {
                return Err(Error::new(codes::KEY_REUSED, codes::KEY_REUSED.meaning()));
            }
            Ok(BeginResult::InProgress) => {
                let error = Error::new(codes::IN_PROGRESS, codes::IN_PROGRESS.meaning());
                return Err(error.with_retry_after(Some(RETRY_AFTER)));
            }
            Err(unavailable) => {
                let detail = "The request was not executed: the idempotency store is unavailable. Try again.";
                let error = Error::new(codes::UNAVAILABLE, detail).with_cause(unavailable);
                return Err(error.with_retry_after(Some(RETRY_AFTER)));
            }
        };
        let attempt = WriteAttempt::new(operation, request, is_retry, claim.started_flag());
        let partial = attempt.partial_flag();
        let outcome = work(cx.clone(), attempt).await;
        store_outcome(claim, outcome, partial.load(Ordering::Relaxed)).await
    }

    /// The response or error of a stored outcome.
    fn replay<T>(&self, record: &Bytes) -> Result<Created<T>, Error> {
        let invalid = || Error::new(codes::INTERNAL, "The stored response cannot be decoded.");
        match record.split_first() {
            Some((&SUCCEEDED, json)) => Ok(Created::from_json(record.slice_ref(json))),
            Some((&REFUSED, error)) => {
                let error = serde_json::from_slice(error).ok();
                Err(error
                    .and_then(|error: StoredError| error.restore(self.codes))
                    .unwrap_or_else(invalid))
            }
            _ => Err(invalid()),
        }
    }
}

/// Stores the outcome of a write and returns it. `partial` says that a compensation of a refused write failed. A
/// failure to store is ignored: a retry then learns the outcome from the backends.
async fn store_outcome<T: Serialize>(
    claim: Claim,
    outcome: Result<T, Failure>,
    partial: bool,
) -> Result<Created<T>, Error> {
    let failure = match outcome {
        Ok(value) => {
            let record = encode(SUCCEEDED, &value)?;
            let _ = claim.complete(&record).await;
            return Ok(Created::from_json(record.slice(1..)));
        }
        Err(failure) => failure,
    };
    let error = failure.error();
    if error.status().is_client_error() && claim.has_started() && !partial {
        let record = encode(REFUSED, &StoredError::of(&error))?;
        let _ = claim.complete(&record).await;
    } else {
        let _ = claim.abandon().await;
    }
    Err(error)
}

fn encode(kind: u8, outcome: &impl Serialize) -> Result<Bytes, Error> {
    let mut record = BytesMut::new();
    record.put_u8(kind);
    let mut writer = record.writer();
    serde_json::to_writer(&mut writer, outcome).map_err(|e| Failure::internal(e).error())?;
    Ok(writer.into_inner().freeze())
}
