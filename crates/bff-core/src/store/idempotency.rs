//! What is remembered of writes, so that each is done once: whether it runs, was done, or may have been.
//!
//! A record is kept for a day from the moment the write begins. Whoever runs the write says what it came to. Without
//! that word, because the process was killed or the store was away, the record says after the longest time a write may
//! run that it may have been done; so it does at once when its runner gave up halfway. The same write again then runs
//! again, to learn what came of the one before: the steps of an action have keys by which the backends do each once. A
//! record goes early only when it is known that nothing was done.
//!
//! A store that is away means that nobody can know whether the write was done before. It is then not done: a 503 is
//! mended by trying again, and a second charge is not. Records are sealed: they hold what a client was told, and a hash
//! of what it sent, which could be guessed from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_util::task::TaskTracker;

use super::{Key, Namespace, Record, RecordCipher, Store, StoreUnavailable, StoredRecord};
use crate::context::GatewayHandles;

/// How long a record is kept (CONTRACT: 24 hours).
pub const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

const SPACE: Namespace = Namespace {
    name: "idempotency",
    evictable: false,
};

/// A record, before it is sealed: what it is, how many milliseconds its runner has, the hash of the body, the answer.
const RUNNING: u8 = 0;
const UNKNOWN: u8 = 1;
const DONE: u8 = 2;
const HASH_BYTES: usize = 32;
const HEAD_BYTES: usize = 1 + 4 + HASH_BYTES;

/// How often a claim is tried for that others try for too.
const TRIES: u32 = 3;

/// One write as its client means it.
#[derive(Clone, Copy, Debug)]
pub struct IdempotentWrite<'a> {
    /// Whose it is; it says where in a cluster the record lies.
    pub whose: &'a [u8],
    /// What tells it from the other writes of this one: the client's own key, and what that is a key of.
    pub name: &'a [&'a [u8]],
    /// SHA-256 of the body.
    pub body_hash: [u8; HASH_BYTES],
    /// How long it may run at most.
    pub longest: Duration,
}

/// What becomes of a write that comes with a key.
#[derive(Debug)]
pub enum BeginResult {
    /// It is the first: do it.
    New(Claim),
    /// An earlier try ended without a word, so some of it may have been done: do it again, to learn.
    Retry(Claim),
    /// It was done: this was the answer.
    Completed(Bytes),
    /// The key was used for another body.
    KeyReused,
    /// The first is still running.
    InProgress,
}

/// The memory of writes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Idempotency {
    store: Store,
    seal: RecordCipher,
    tasks: TaskTracker,
}

/// The right to do a write. Dropped without a word of what it came to, it leaves that the write may have been done,
/// or nothing where no part of it was begun.
#[derive(Debug)]
#[must_use = "dropping it leaves the write's outcome unknown"]
pub struct Claim {
    of: Idempotency,
    key: Key,
    body_hash: [u8; HASH_BYTES],
    /// The record as it stands in the store.
    held: Bytes,
    /// Whether some of it may have been done, by this try or one before.
    begun: Arc<AtomicBool>,
    settled: bool,
}

impl Idempotency {
    /// A memory in `store`, sealed with `seal`.
    pub fn new(store: Store, seal: RecordCipher, shared: &GatewayHandles) -> Self {
        Self {
            store,
            seal,
            tasks: shared.tasks.clone(),
        }
    }

    /// Begins a write, unless it was begun.
    pub async fn begin(
        &self,
        wanted: IdempotentWrite<'_>,
    ) -> Result<BeginResult, StoreUnavailable> {
        let key = Key::of(SPACE, wanted.whose, wanted.name);
        let longest = u32::try_from(wanted.longest.as_millis()).unwrap_or(u32::MAX);
        let held = self.record(&key, RUNNING, longest, &wanted.body_hash, &[])?;
        let mut claim = Claim {
            of: self.clone(),
            key,
            body_hash: wanted.body_hash,
            held,
            begun: Arc::default(),
            settled: false,
        };
        for _ in 0..TRIES {
            let record = Record {
                key: claim.key.clone(),
                value: claim.held.clone(),
                ttl: RETENTION,
            };
            // Not answered, it may have got through: then the claim gives it up by being dropped.
            let Some(there) = self.store.insert_if_absent(&record).await? else {
                return Ok(BeginResult::New(claim));
            };
            match self.judge(&claim, &there)? {
                None => {
                    claim.begin();
                    let with = Some((claim.held.clone(), RETENTION));
                    if self
                        .store
                        .compare_and_swap(&claim.key, &there.value, with)
                        .await?
                    {
                        return Ok(BeginResult::Retry(claim));
                    }
                    // Somebody else was quicker.
                    claim.begun.store(false, Ordering::Relaxed);
                }
                Some(begun) => {
                    claim.settled = true;
                    return Ok(begun);
                }
            }
        }
        claim.settled = true;
        Ok(BeginResult::InProgress)
    }

    /// What a record that is there says to whoever comes with this body; nothing when an earlier try ended without a
    /// word.
    fn judge(
        &self,
        claim: &Claim,
        there: &StoredRecord,
    ) -> Result<Option<BeginResult>, StoreUnavailable> {
        // Sealed with a key that is not ours any more, nobody can say what it was.
        let record = self.seal.decrypt(&claim.key, &there.value);
        let record = Bytes::from(record.map_err(|_| StoreUnavailable)?);
        let (head, answer) = record
            .split_at_checked(HEAD_BYTES)
            .ok_or(StoreUnavailable)?;
        let [state, a, b, c, d, hash @ ..] = head else {
            return Err(StoreUnavailable);
        };
        if hash != claim.body_hash {
            return Ok(Some(BeginResult::KeyReused));
        }
        let longest = Duration::from_millis(u32::from_be_bytes([*a, *b, *c, *d]).into());
        Ok(match *state {
            DONE => Some(BeginResult::Completed(record.slice_ref(answer))),
            RUNNING if RETENTION.saturating_sub(there.left) < longest => {
                Some(BeginResult::InProgress)
            }
            _ => None,
        })
    }

    fn record(
        &self,
        key: &Key,
        state: u8,
        longest: u32,
        body_hash: &[u8; HASH_BYTES],
        answer: &[u8],
    ) -> Result<Bytes, StoreUnavailable> {
        let mut record = BytesMut::with_capacity(HEAD_BYTES + answer.len());
        record.put_u8(state);
        record.put_u32(longest);
        record.put_slice(body_hash);
        record.put_slice(answer);
        self.seal.seal(key, &record).map_err(|_| StoreUnavailable)
    }
}

impl Claim {
    /// From now on some of the write may have been done.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Whether some of it may have been done.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// For whoever does the write to say that some of it may have been done, or that none was after all.
    pub(crate) fn begun(&self) -> Arc<AtomicBool> {
        self.begun.clone()
    }

    /// The write is done, and this is its answer from now on. False when another try has taken over.
    pub async fn done(mut self, answer: &[u8]) -> Result<bool, StoreUnavailable> {
        // Should its answer not be kept, the write was done all the same, and the same again learns it from the backends.
        self.begin();
        let record = (self.of).record(&self.key, DONE, 0, &self.body_hash, answer)?;
        let kept = self
            .of
            .store
            .compare_and_swap(&self.key, &self.held, Some((record, RETENTION)));
        let kept = kept.await?;
        self.settled = true;
        Ok(kept)
    }

    /// The try ended without an answer that stands.
    pub async fn abandon(mut self) -> Result<bool, StoreUnavailable> {
        let with = self.abandoned_record();
        let left = self
            .of
            .store
            .compare_and_swap(&self.key, &self.held, with)
            .await?;
        self.settled = true;
        Ok(left)
    }

    /// What the record becomes when nobody says what the write came to.
    fn abandoned_record(&self) -> Option<(Bytes, Duration)> {
        let begun = self.begun.load(Ordering::Relaxed);
        let unknown = || self.of.record(&self.key, UNKNOWN, 0, &self.body_hash, &[]);
        // That sealing fails cannot be told from here; a claim that stays as it is ends by itself.
        begun.then(|| (unknown().unwrap_or_else(|_| self.held.clone()), RETENTION))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let with = self.abandoned_record();
        let (of, key, held) = (self.of.clone(), self.key.clone(), self.held.clone());
        if let Store::Memory(memory) = &of.store {
            // There is nothing to wait for, and it never refuses what is smaller than what was there.
            let _ = memory.swap(&key, &held, with);
            return;
        }
        // Outside a runtime there is nobody to tell Redis; the claim ends by itself.
        if tokio::runtime::Handle::try_current().is_ok() {
            let tasks = of.tasks.clone();
            tasks.spawn(async move { of.store.compare_and_swap(&key, &held, with).await });
        }
    }
}

#[cfg(test)]
mod tests;
