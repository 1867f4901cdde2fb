//! The second tier, behind the copies of this process: what all replicas of a gateway share in Redis.
//!
//! It holds answers as their backends sent them, so that a copy is parsed again by whoever finds it and no type is tied
//! to the store. One question finds a copy or takes the right to make the call for all (a lease); those who find neither
//! wait for the holder's answer, within a bound. Questions of one screen are written to one connection before any is
//! answered, so that together they take one round trip. What is one caller's never leaves the process, and Redis that is
//! away or slow costs an answer at most `store.timeout`, once in a `store.pause`; of a cluster, in each part of it. A copy
//! that is past its freshness there is asked about, and stands in where that fails: who serves it while it is renewed is
//! the replica that has it.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use ::redis::Script;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use super::entry::{Entry, Standing, What};
use super::fly::Flying;
use super::rules;
use super::spread::Spread;
use crate::outbound::Until;
use crate::store::{Away, Key as StoreKey, Redis, Space, Store, token};
use errand::Errand;
use record::{Copy, Record};

pub(super) mod errand;
pub(super) mod record;

/// The longest that a copy is kept there, whatever it may be: so long must purges be remembered.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two looks for what somebody else fetches: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

const COPIES: Space = Space {
    name: "cache",
    forgettable: true,
};
const LEASES: Space = Space {
    name: "cache-lease",
    forgettable: true,
};

/// What replicas share of the answers of their backends, where `[store] url` names a Redis.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The largest body shared, in bytes as received. Default 262144 (256 KiB): larger ones are cheaper asked for than
    /// carried twice. 0: nothing is shared, and each replica keeps for itself.
    pub max_bytes: usize,
    /// How long a replica waits for an answer that another is fetching, before it asks the backend too. Default 500ms:
    /// longer than nearly every call takes, and all that a replica that dies delays the others.
    #[serde(with = "crate::config::duration")]
    pub wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 10,
            wait: Duration::from_millis(500),
        }
    }
}

/// Makes of a body what it was made into before.
pub(crate) type Recall = fn(&[u8]) -> Option<Arc<dyn Any + Send + Sync>>;

/// The second tier.
pub(super) struct Tier {
    config: Config,
    gateway: String,
    store: Store,
    redis: Arc<Redis>,
    look: Script,
    land: Script,
    pub(super) spread: Spread,
}

/// What a look into the tier found.
pub(super) enum Looked {
    /// A fresh copy.
    Found(Arc<Entry>),
    /// The call is to be made: on behalf of all where there is an errand; on the condition of a copy that is not fresh.
    Call(Option<Box<Errand>>, Option<Arc<Entry>>),
}

/// What Redis says of a request.
enum Known {
    Record(Bytes, Duration),
    Ours,
    Theirs,
}

impl Tier {
    /// The tier of the replicas of `gateway`; none where nothing is shared.
    pub(super) fn new(config: &Config, gateway: &str, store: &Store) -> Option<Self> {
        let Store::Redis(redis) = store else {
            return None;
        };
        (config.max_bytes > 0).then(|| Self {
            config: config.clone(),
            gateway: gateway.to_owned(),
            store: store.clone(),
            redis: redis.clone(),
            look: Script::new(include_str!("tier/look.lua")),
            land: Script::new(include_str!("tier/land.lua")),
            spread: Spread::new(redis.clone(), gateway),
        })
    }

    /// Looks for an answer that another replica has or fetches.
    pub(super) async fn look(&self, flying: &Flying, recall: Recall, until: &Until) -> Looked {
        let Some(errand) = self
            .errand(flying)
            .filter(|_| !flying.cx.shared().cache.is_unkept(&flying.key))
        else {
            return Looked::Call(None, None);
        };
        let outcome = |outcome| {
            let metrics = &flying.cx.shared().metrics;
            metrics.cache_shared(flying.key.upstream(), outcome);
        };
        // Redis that is slow must not take the time in which whoever waits has to say that there is no answer.
        let found = timeout_at(until.get(), self.find(flying, errand, recall, until)).await;
        let (looked, told) = match found {
            Ok(Ok(found)) => found,
            Ok(Err(Away)) => (Looked::Call(None, None), "away"),
            Err(_) => (Looked::Call(None, None), "late"),
        };
        outcome(told);
        looked
    }

    async fn find(
        &self,
        flying: &Flying,
        mut errand: Box<Errand>,
        recall: Recall,
        until: &Until,
    ) -> Result<(Looked, &'static str), Away> {
        let cache = &flying.cx.shared().cache;
        if self.spread.has_pending() {
            // What was purged here must not be read back.
            cache.settle(&self.spread, flying.cx.world()).await?;
        }
        let began = Instant::now();
        let (mut pause, mut stale) = (FIRST_PAUSE, None);
        loop {
            match self.ask(&mut errand).await? {
                Known::Record(bytes, left) => match self.read(bytes) {
                    Some(Record::Unkept) => {
                        cache.unkept(&flying.key);
                        return Ok((Looked::Call(None, None), "unkept"));
                    }
                    Some(Record::Copy(copy)) => {
                        if let Some(entry) = entry(flying, &copy, left, recall) {
                            if matches!(entry.standing(Instant::now()), Standing::Fresh(_)) {
                                let told = if pause == FIRST_PAUSE {
                                    "hit"
                                } else {
                                    "waited"
                                };
                                return Ok((Looked::Found(entry), told));
                            }
                            stale = Some(entry);
                            errand.copy = Some(copy);
                        }
                        // No longer fresh: somebody asks for it anew.
                        if self.lease(&mut errand).await? {
                            return Ok((Looked::Call(Some(errand), stale), "miss"));
                        }
                    }
                    None if self.lease(&mut errand).await? => {
                        return Ok((Looked::Call(Some(errand), None), "miss"));
                    }
                    None => {}
                },
                Known::Ours => return Ok((Looked::Call(Some(errand), stale), "miss")),
                Known::Theirs => {}
            }
            let end = until.get().min(began + self.config.wait);
            if Instant::now() + pause >= end {
                // Longer than it should take: the answer is fetched here, and kept for all nevertheless.
                return Ok((Looked::Call(Some(errand), stale), "late"));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What is written, unless it was purged.
    fn read(&self, bytes: Bytes) -> Option<Record> {
        let record = Record::decode(bytes, self.config.max_bytes)?;
        let alive = match &record {
            Record::Unkept => true,
            Record::Copy(copy) => self.spread.allows(&copy.tags, copy.since),
        };
        alive.then_some(record)
    }

    async fn ask(&self, errand: &mut Errand) -> Result<Known, Away> {
        let mut call = self.look.prepare_invoke();
        call.key(errand.key.as_str()).key(errand.lease_key.as_str());
        call.arg(&errand.token[..]).arg(self.wait_millis());
        // Who leaves before the answer is here may have got the right, and gives it back.
        errand.holds = true;
        let answer = self.redis.invoke(&errand.key, &call).await;
        errand.holds = false;
        let (record, left): (Vec<u8>, i64) = answer?;
        Ok(match (record.is_empty(), left) {
            (true, 1) => {
                errand.holds = true;
                Known::Ours
            }
            (true, _) => Known::Theirs,
            (false, left) => {
                let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
                Known::Record(record.into(), left)
            }
        })
    }

    /// Takes the right to make the call although there is a record.
    async fn lease(&self, errand: &mut Errand) -> Result<bool, Away> {
        let (key, token, wait) = (&errand.lease_key, &errand.token, self.config.wait);
        errand.holds = true;
        let got = self.redis.lease(key, token, wait).await;
        errand.holds = got == Ok(true);
        got
    }

    fn wait_millis(&self) -> u64 {
        u64::try_from(self.config.wait.as_millis()).unwrap_or(u64::MAX)
    }

    /// What is asked for, unless it is one caller's.
    fn errand(&self, flying: &Flying) -> Option<Box<Errand>> {
        let name = flying.key.shared_by(&self.gateway)?;
        let shared = flying.cx.shared();
        Some(Box::new(Errand {
            cache: shared.cache.clone(),
            tasks: shared.tasks.clone(),
            key: StoreKey::of(COPIES, &name, &[]),
            lease_key: StoreKey::of(LEASES, &name, &[]),
            token: token(&shared.world),
            holds: false,
            since: self.spread.seen(),
            copy: None,
        }))
    }
}

/// A copy that another replica kept, of which so much of its time is left.
fn entry(flying: &Flying, copy: &Copy, left: Duration, recall: Recall) -> Option<Arc<Entry>> {
    let here = copy.ttl.saturating_sub(left);
    Some(Arc::new(Entry {
        what: What::Value(recall(&copy.body)?),
        terms: copy.terms,
        // A slice of all that was read, the body included.
        head: rules::owned(&copy.head),
        bytes: copy.body.len(),
        arrived: Instant::now().checked_sub(here)?,
        asked: flying.asked,
        tags: copy.tags.clone(),
        failing: None.into(),
        found: true,
    }))
}
