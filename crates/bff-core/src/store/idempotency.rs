//! A write is done once: the answer of a key is kept, and given again to whoever repeats the same write.
//!
//! A store that is away means that nobody can know whether the write was done before. It is then not done: a 503 is
//! mended by trying again, and a second charge is not. What was done while the store went away is settled by the
//! backend, which has the key too: the claim ends by itself, and the same key then runs again.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Away, Key, Space, Store, token};
use crate::context::{Shared, World};

/// Atomic on Redis; `Memory::begin` is its twin.
pub(super) const BEGIN: &str = include_str!("idempotency/begin.lua");
/// Atomic on Redis; `Memory::settle` is its twin.
pub(super) const SETTLE: &str = include_str!("idempotency/settle.lua");

/// How long an answer is kept (CONTRACT: 24 hours).
pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

const SPACE: Space = Space {
    name: "idempotency",
    forgettable: false,
};

/// A record is: what it is, the hash of the body, then the holder of the claim or the answer.
const RUNNING: u8 = 0;
const DONE: u8 = 1;
const HASH_BYTES: usize = 32;

/// A key being used: what for, and for how long at most.
#[derive(Clone, Debug)]
pub struct Use {
    pub(super) body_hash: [u8; HASH_BYTES],
    pub(super) claim_ttl: Duration,
    holder: Bytes,
}

/// What becomes of a write that comes with a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Begun<T> {
    /// It is the first: do it.
    Fresh(T),
    /// It was done: this was the answer.
    Done(Bytes),
    /// The key was used for another body.
    Reused,
    /// The first is still running.
    Running,
}

/// The memory of writes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Idempotency {
    store: Store,
    world: World,
    tasks: tokio_util::task::TaskTracker,
    claim_ttl: Duration,
}

/// The right to do a write. Dropped without an answer it is given up, so that the same key runs again.
#[derive(Debug)]
#[must_use = "dropping it lets the same write run again"]
pub struct Claim {
    of: Idempotency,
    key: Key,
    wanted: Use,
    settled: bool,
}

impl Idempotency {
    /// `longest` is how long a write may run; a claim whose holder died ends a little later.
    pub fn new(store: Store, shared: &Shared, longest: Duration) -> Self {
        Self {
            store,
            world: shared.world.clone(),
            tasks: shared.tasks.clone(),
            claim_ttl: longest + Duration::from_secs(2),
        }
    }

    /// Begins a write: `scope` is who asks, `operation` what for, `key` the client's own, `body_hash` SHA-256 of the body.
    pub async fn begin(
        &self,
        scope: &str,
        operation: &str,
        key: &str,
        body_hash: [u8; 32],
    ) -> Result<Begun<Claim>, Away> {
        let parts = [operation.as_bytes(), key.as_bytes()];
        let key = Key::of(SPACE, scope.as_bytes(), &parts);
        let wanted = Use {
            body_hash,
            claim_ttl: self.claim_ttl,
            holder: token(&self.world),
        };
        // Made first: were the question dropped halfway, a claim that got through would be given up all the same.
        let claim = Claim {
            of: self.clone(),
            key,
            wanted,
            settled: false,
        };
        let begun = match &self.store {
            Store::Memory(memory) => memory.begin(&claim.key, &claim.wanted),
            Store::Redis(redis) => redis.begin(&claim.key, &claim.wanted).await,
        };
        match begun? {
            Begun::Fresh(()) => Ok(Begun::Fresh(claim)),
            other => {
                claim.forget();
                Ok(match other {
                    Begun::Done(answer) => Begun::Done(answer),
                    Begun::Reused => Begun::Reused,
                    _ => Begun::Running,
                })
            }
        }
    }

    async fn settle(
        &self,
        key: &Key,
        held: &Bytes,
        with: Option<(Bytes, Duration)>,
    ) -> Result<bool, Away> {
        match &self.store {
            Store::Memory(memory) => memory.settle(key, held, with),
            Store::Redis(redis) => redis.settle(key, held, with).await,
        }
    }
}

impl Claim {
    /// The write is done, and this is its answer from now on. False when the claim's time was up before.
    pub async fn done(mut self, answer: &[u8]) -> Result<bool, Away> {
        let mut kept = BytesMut::with_capacity(1 + HASH_BYTES + answer.len());
        kept.put_u8(DONE);
        kept.put_slice(&self.wanted.body_hash);
        kept.put_slice(answer);
        let with = Some((kept.freeze(), KEPT));
        // Whatever comes of it, the write was done: the claim is not given up for another to do it again at once.
        self.settled = true;
        let held = self.wanted.claim();
        self.of.settle(&self.key, &held, with).await
    }

    /// Somebody else's: nothing to give up.
    fn forget(mut self) {
        self.settled = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let (of, key, held) = (self.of.clone(), self.key.clone(), self.wanted.claim());
        if let Store::Memory(memory) = &of.store {
            // There is nothing to wait for, and it never refuses to let go.
            let _ = memory.settle(&key, &held, None);
            return;
        }
        // Outside a runtime there is nobody to tell Redis; the claim ends by itself.
        if tokio::runtime::Handle::try_current().is_ok() {
            let tasks = of.tasks.clone();
            tasks.spawn(async move { of.settle(&key, &held, None).await });
        }
    }
}

impl Use {
    /// The record of a write that runs.
    pub(super) fn claim(&self) -> Bytes {
        let mut claim = BytesMut::with_capacity(1 + HASH_BYTES + self.holder.len());
        claim.put_u8(RUNNING);
        claim.put_slice(&self.body_hash);
        claim.put_slice(&self.holder);
        claim.freeze()
    }
}

/// What a record that is there says to whoever comes with a body of this hash.
pub(super) fn judge(kept: &Bytes, body_hash: &[u8; HASH_BYTES]) -> Begun<()> {
    match (kept.first(), kept.get(1..=HASH_BYTES)) {
        (_, Some(hash)) if hash != body_hash => Begun::Reused,
        (Some(&DONE), Some(_)) => Begun::Done(kept.slice(1 + HASH_BYTES..)),
        // Not ours to read, and certainly not a reason to do it again.
        _ => Begun::Running,
    }
}
