//! Sessions: what a gateway keeps for a client that holds nothing but an id.
//!
//! The id is the secret: it is not in the store, whose keys are hashes, and what is kept is sealed. A session ends when
//! nobody used it for a while, at the latest after its longest time, or when it is removed; one that is removed is not
//! brought back by a request that was under way.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::encrypted::{EncryptedStore, Versioned};
use super::{Key, Namespace, RecordCipher, Store, StoreUnavailable};
use crate::context::Env;

const SESSION: Namespace = Namespace {
    name: "session",
    evictable: false,
};

/// The ids of one account's sessions.
const OF_ACCOUNT: Namespace = Namespace {
    name: "sessions",
    evictable: false,
};

/// How long sessions last, and how many an account has.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How long nobody may use one. Default 30 days.
    pub idle_timeout: Duration,
    /// How long one lasts at most. Default 180 days.
    pub absolute_timeout: Duration,
    /// How many an account has at once; the one that began first goes. Default 50: more than anybody has devices.
    pub max_per_account: usize,
}

impl Default for Config {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            idle_timeout: 30 * day,
            absolute_timeout: 180 * day,
            max_per_account: 50,
        }
    }
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Session<T> {
    /// Whose it is.
    pub account: String,
    /// When it began, in seconds since 1970.
    pub begun: u64,
    /// When it was last used, as far as that was noted.
    pub seen: u64,
    /// What is kept for it, such as tokens.
    pub holds: T,
}

/// One of an account's sessions, as its owner is shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo<T> {
    /// The name it can be removed by; whoever has it cannot use the session.
    pub name: String,
    /// The session.
    pub session: Session<T>,
}

/// An id, its public name beside it.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Entry {
    name: String,
    id: String,
}

/// All sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    sealed: EncryptedStore,
    terms: Config,
}

impl Sessions {
    /// Sessions in `store`, sealed with `seal`.
    pub fn new(store: Store, seal: RecordCipher, world: &Env, terms: Config) -> Self {
        Self {
            sealed: EncryptedStore::new(store, seal, world),
            terms,
        }
    }

    /// Begins a session, and answers its id.
    pub async fn create<T: Serialize>(
        &self,
        account: &str,
        holds: T,
    ) -> Result<String, StoreUnavailable> {
        let now = self.sealed.world.unix_seconds();
        let session = Session {
            account: account.to_owned(),
            begun: now,
            seen: now,
            holds,
        };
        let id = self.sealed.secret();
        let ttl = self.terms.idle_timeout.min(self.terms.absolute_timeout);
        if !self.sealed.put_new(&key(&id), &session, ttl).await? {
            // Nobody draws the same 256 bits twice.
            return Err(StoreUnavailable);
        }
        let entry = Entry {
            name: self.sealed.world.uuid().to_string(),
            id: id.clone(),
        };
        let gone = self.change_list(account, |list| {
            list.push(entry.clone());
            let over = list.len().saturating_sub(self.terms.max_per_account);
            list.drain(..over).collect()
        });
        let gone: Vec<Key> = gone.await?.iter().map(|entry| key(&entry.id)).collect();
        self.sealed.delete(&gone).await?;
        Ok(id)
    }

    /// A session that has not ended.
    pub async fn read<T: DeserializeOwned>(
        &self,
        id: &str,
    ) -> Result<Option<Session<T>>, StoreUnavailable> {
        let read = self.sealed.read(&key(id)).await?;
        Ok(read
            .and_then(|read| self.unexpired(read))
            .map(|(session, _)| session))
    }

    /// Notes that a session is used, so that it lasts on, and keeps what it holds now. False when it has ended.
    pub async fn touch<T>(
        &self,
        id: &str,
        change: impl Fn(&mut T),
    ) -> Result<bool, StoreUnavailable>
    where
        T: Serialize + DeserializeOwned,
    {
        let key = key(id);
        // Whoever else uses it at the same moment has noted that already; what it holds must be changed all the same.
        for _ in 0..16 {
            let Some(read) = self.sealed.read::<Session<T>>(&key).await? else {
                return Ok(false);
            };
            let Some((mut session, read)) = self.unexpired(read) else {
                return Ok(false);
            };
            session.seen = self.sealed.world.unix_seconds();
            change(&mut session.holds);
            let ttl = self.terms.idle_timeout.min(self.left(&session));
            if self.sealed.swap(&key, &read, Some((&session, ttl))).await? {
                return Ok(true);
            }
        }
        Err(StoreUnavailable)
    }

    /// Ends a session.
    pub async fn remove(&self, account: &str, id: &str) -> Result<(), StoreUnavailable> {
        self.sealed.delete(&[key(id)]).await?;
        let rest = self.change_list(account, |list| {
            list.retain(|entry| entry.id != id);
            Vec::new()
        });
        rest.await.map(drop)
    }

    /// Ends the session of an account that is listed by this name; false when there is none.
    pub async fn remove_named(&self, account: &str, name: &str) -> Result<bool, StoreUnavailable> {
        let list = self.sealed.read::<Vec<Entry>>(&of(account)).await?;
        let list = list.and_then(|read| read.value).unwrap_or_default();
        match list.into_iter().find(|entry| entry.name == name) {
            Some(entry) => self.remove(account, &entry.id).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// An account's sessions, the oldest first.
    pub async fn list<T: DeserializeOwned>(
        &self,
        account: &str,
    ) -> Result<Vec<SessionInfo<T>>, StoreUnavailable> {
        let list = self.sealed.read::<Vec<Entry>>(&of(account)).await?;
        let list = list.and_then(|read| read.value).unwrap_or_default();
        let keys: Vec<Key> = list.iter().map(|entry| key(&entry.id)).collect();
        let sessions = self.sealed.read_many(&keys).await?;
        let listed = list.into_iter().zip(sessions).filter_map(|(entry, read)| {
            let (session, _) = self.unexpired(read?)?;
            let name = entry.name;
            Some(SessionInfo { name, session })
        });
        Ok(listed.collect())
    }

    /// Ends all sessions of an account.
    pub async fn remove_all(&self, account: &str) -> Result<(), StoreUnavailable> {
        let all = self.change_list(account, std::mem::take).await?;
        let keys: Vec<Key> = all.iter().map(|entry| key(&entry.id)).collect();
        self.sealed.delete(&keys).await
    }

    /// A session that can be read and whose longest time is not up.
    fn unexpired<T>(
        &self,
        mut read: Versioned<Session<T>>,
    ) -> Option<(Session<T>, Versioned<Session<T>>)> {
        let session = read.value.take()?;
        (!self.left(&session).is_zero()).then_some((session, read))
    }

    fn left<T>(&self, session: &Session<T>) -> Duration {
        let ends = Duration::from_secs(session.begun) + self.terms.absolute_timeout;
        ends.saturating_sub(Duration::from_secs(self.sealed.world.unix_seconds()))
    }

    /// Changes the list of an account's sessions; `change` answers those that are not on it any more.
    async fn change_list(
        &self,
        account: &str,
        change: impl Fn(&mut Vec<Entry>) -> Vec<Entry>,
    ) -> Result<Vec<Entry>, StoreUnavailable> {
        let change = |list: Option<(Vec<Entry>, Duration)>| {
            let mut list = list.map_or_else(Vec::new, |(list, _)| list);
            let gone = change(&mut list);
            // As long as the last of them may last.
            (list, self.terms.absolute_timeout, gone)
        };
        self.sealed.update(&of(account), change).await
    }
}

fn key(id: &str) -> Key {
    Key::of(SESSION, id.as_bytes(), &[])
}

fn of(account: &str) -> Key {
    Key::of(OF_ACCOUNT, account.as_bytes(), &[])
}

#[cfg(test)]
mod tests;
