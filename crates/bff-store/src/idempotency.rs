//! Idempotency keys: remembers writes, so that each is executed once.
//!
//! A record lasts a day from the start of its write. The code that runs the write completes or abandons its claim. If
//! it does neither, because the process was killed or the store was unavailable, the write counts as interrupted after
//! its maximum duration. An abandoned write that had started counts as interrupted at once. A retry runs an interrupted
//! write again, to learn its outcome. Every step sends its own idempotency key, so no backend executes it twice.
//! A record is deleted early only if nothing was executed.
//!
//! If the store is unavailable, it is unknown whether the write was executed before. It is then rejected: a client
//! can retry after a 503, but not undo a second charge. Records are encrypted, because they hold a response and a hash
//! of the request, which could be guessed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_util::task::TaskTracker;

use super::{Key, Namespace, Record, RecordCipher, Store, StoreUnavailable, StoredRecord};

/// The lifetime of a record (CONTRACT: 24 hours).
pub const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

const NAMESPACE: Namespace = Namespace {
    name: "idempotency",
    evictable: false,
};

/// The fields of a record before encryption: state, maximum duration in milliseconds, hash of the body, response.
const RUNNING: u8 = 0;
const INTERRUPTED: u8 = 1;
const DONE: u8 = 2;
const HASH_BYTES: usize = 32;
const HEAD_BYTES: usize = 1 + 4 + HASH_BYTES;

/// The attempts of a claim that competes with others.
const ATTEMPTS: u32 = 3;

/// A write with an idempotency key.
#[derive(Clone, Copy, Debug)]
pub struct IdempotentWrite<'a> {
    /// The owner of the key, such as an account. It decides the slot in a cluster.
    pub owner: &'a [u8],
    /// The parts that identify the write among those of its owner: the operation and the client's key.
    pub key_parts: &'a [&'a [u8]],
    /// SHA-256 of the request body.
    pub body_hash: [u8; HASH_BYTES],
    /// The longest time it may run.
    pub max_duration: Duration,
}

/// The result of beginning a write.
#[derive(Debug)]
pub enum BeginResult {
    /// The key is new: run the write.
    New(Claim),
    /// An earlier attempt was interrupted, so parts of it may have been executed: run it again, to learn its outcome.
    Retry(Claim),
    /// The write was completed, with this response.
    Completed(Bytes),
    /// The key was used with another body.
    KeyReused,
    /// The write is still running.
    InProgress,
}

/// The record of writes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Idempotency {
    store: Store,
    cipher: RecordCipher,
    tasks: TaskTracker,
}

/// The exclusive right to run a write. Dropping it abandons the write: its outcome is unknown if it had started, and
/// the record is deleted otherwise.
#[derive(Debug)]
#[must_use = "dropping it leaves the outcome of the write unknown"]
pub struct Claim {
    idempotency: Idempotency,
    key: Key,
    body_hash: [u8; HASH_BYTES],
    /// The bytes of the record in the store.
    bytes: Bytes,
    /// Whether parts of the write may have been executed, by this attempt or an earlier one.
    started: Arc<AtomicBool>,
    resolved: bool,
}

impl Idempotency {
    /// Idempotency records in `store`, encrypted with `cipher`.
    pub fn new(store: Store, cipher: RecordCipher, tasks: &TaskTracker) -> Self {
        Self {
            store,
            cipher,
            tasks: tasks.clone(),
        }
    }

    /// Claims a write, unless it was completed or is running.
    pub async fn begin(&self, write: IdempotentWrite<'_>) -> Result<BeginResult, StoreUnavailable> {
        let key = Key::of(NAMESPACE, write.owner, write.key_parts);
        let max_duration = u32::try_from(write.max_duration.as_millis()).unwrap_or(u32::MAX);
        let bytes = self.encrypt_record(&key, RUNNING, max_duration, &write.body_hash, &[])?;
        let mut claim = Claim {
            idempotency: self.clone(),
            key,
            body_hash: write.body_hash,
            bytes,
            started: Arc::default(),
            resolved: false,
        };
        for _ in 0..ATTEMPTS {
            let record = Record {
                key: claim.key.clone(),
                value: claim.bytes.clone(),
                ttl: RETENTION,
            };
            // If the reply is lost, the record may be stored: dropping the claim then abandons it.
            let Some(existing) = self.store.insert_if_absent(&record).await? else {
                return Ok(BeginResult::New(claim));
            };
            match self.interpret(&claim, &existing)? {
                None => {
                    claim.mark_started();
                    let replacement = Some((claim.bytes.clone(), RETENTION));
                    if self
                        .store
                        .compare_and_swap(&claim.key, &existing.value, replacement)
                        .await?
                    {
                        return Ok(BeginResult::Retry(claim));
                    }
                    // Another attempt was faster.
                    claim.started.store(false, Ordering::Relaxed);
                }
                Some(result) => {
                    claim.resolved = true;
                    return Ok(result);
                }
            }
        }
        claim.resolved = true;
        Ok(BeginResult::InProgress)
    }

    /// The result for a request with this body, from an existing record; `None` if an earlier attempt was interrupted.
    fn interpret(
        &self,
        claim: &Claim,
        existing: &StoredRecord,
    ) -> Result<Option<BeginResult>, StoreUnavailable> {
        // Without its encryption key, the record is unreadable.
        let record = self.cipher.decrypt(&claim.key, &existing.value);
        let record = Bytes::from(record.map_err(|_| StoreUnavailable)?);
        let (head, response) = record
            .split_at_checked(HEAD_BYTES)
            .ok_or(StoreUnavailable)?;
        let [state, a, b, c, d, hash @ ..] = head else {
            return Err(StoreUnavailable);
        };
        if hash != claim.body_hash {
            return Ok(Some(BeginResult::KeyReused));
        }
        let max_duration = Duration::from_millis(u32::from_be_bytes([*a, *b, *c, *d]).into());
        Ok(match *state {
            DONE => Some(BeginResult::Completed(record.slice_ref(response))),
            RUNNING if RETENTION.saturating_sub(existing.ttl_left) < max_duration => {
                Some(BeginResult::InProgress)
            }
            _ => None,
        })
    }

    fn encrypt_record(
        &self,
        key: &Key,
        state: u8,
        max_duration: u32,
        body_hash: &[u8; HASH_BYTES],
        response: &[u8],
    ) -> Result<Bytes, StoreUnavailable> {
        let mut record = BytesMut::with_capacity(HEAD_BYTES + response.len());
        record.put_u8(state);
        record.put_u32(max_duration);
        record.put_slice(body_hash);
        record.put_slice(response);
        self.cipher
            .encrypt(key, &record)
            .map_err(|_| StoreUnavailable)
    }
}

impl Claim {
    /// Marks the write as started: from now on, parts of it may have been executed.
    pub fn mark_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Whether parts of the write may have been executed.
    pub fn has_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// The flag of `has_started`, for the code that runs the write.
    pub fn started_flag(&self) -> Arc<AtomicBool> {
        self.started.clone()
    }

    /// Completes the write with its response. False if another attempt has taken over.
    pub async fn complete(mut self, response: &[u8]) -> Result<bool, StoreUnavailable> {
        // If the response cannot be stored, the write was executed all the same. A retry then learns that from the
        // backends.
        self.mark_started();
        let record =
            (self.idempotency).encrypt_record(&self.key, DONE, 0, &self.body_hash, response)?;
        let stored = self.idempotency.store.compare_and_swap(
            &self.key,
            &self.bytes,
            Some((record, RETENTION)),
        );
        let stored = stored.await?;
        self.resolved = true;
        Ok(stored)
    }

    /// Ends the attempt without a response. False if another attempt has taken over.
    pub async fn abandon(mut self) -> Result<bool, StoreUnavailable> {
        let replacement = self.abandoned_record();
        let swapped = self
            .idempotency
            .store
            .compare_and_swap(&self.key, &self.bytes, replacement)
            .await?;
        self.resolved = true;
        Ok(swapped)
    }

    /// The record of an abandoned write; `None` to delete it.
    fn abandoned_record(&self) -> Option<(Bytes, Duration)> {
        let started = self.started.load(Ordering::Relaxed);
        let interrupted = || {
            self.idempotency
                .encrypt_record(&self.key, INTERRUPTED, 0, &self.body_hash, &[])
        };
        // If encryption fails, the record stays as it is; the claim expires by itself.
        started.then(|| {
            (
                interrupted().unwrap_or_else(|_| self.bytes.clone()),
                RETENTION,
            )
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.resolved {
            return;
        }
        let replacement = self.abandoned_record();
        let (idempotency, key, bytes) = (
            self.idempotency.clone(),
            self.key.clone(),
            self.bytes.clone(),
        );
        if let Store::Memory(memory) = &idempotency.store {
            // This needs no waiting, and cannot fail, because the new record is not larger than the old one.
            let _ = memory.compare_and_swap(&key, &bytes, replacement);
            return;
        }
        // Outside a runtime Redis cannot be called; the claim expires by itself.
        if tokio::runtime::Handle::try_current().is_ok() {
            let tasks = idempotency.tasks.clone();
            tasks.spawn(async move {
                idempotency
                    .store
                    .compare_and_swap(&key, &bytes, replacement)
                    .await
            });
        }
    }
}

#[cfg(test)]
mod tests;
