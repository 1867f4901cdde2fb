//! Sessions: the data of a client that has only a session id.
//!
//! The id is the secret. It is not in the store, whose keys are hashes, and the data is encrypted. A session ends when
//! it was idle for too long, at its absolute timeout, or when it is removed. A concurrent request does not restore a
//! removed session.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::encrypted::{EncryptedStore, Versioned};
use super::{Key, Namespace, RecordCipher, Store, StoreUnavailable};
use bff_runtime::net::Env;

const SESSION: Namespace = Namespace {
    name: "session",
    evictable: false,
};

/// The list of an account's sessions.
const SESSIONS_OF_ACCOUNT: Namespace = Namespace {
    name: "sessions",
    evictable: false,
};

/// The lifetime of sessions, and the number that an account may have.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The longest time without use. Default 30 days.
    pub idle_timeout: Duration,
    /// The longest lifetime. Default 180 days.
    pub absolute_timeout: Duration,
    /// The most sessions of an account; beyond it the oldest is removed. Default 50: more than a person has devices.
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
    /// The account.
    pub account: String,
    /// The time of its creation, in seconds since 1970.
    pub created_at: u64,
    /// The time of its last touch, in seconds since 1970.
    pub last_used_at: u64,
    /// The data of the session, such as tokens.
    pub data: T,
}

/// A session in its owner's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo<T> {
    /// The name to remove the session by. It does not give access to the session.
    pub name: String,
    /// The session.
    pub session: Session<T>,
}

/// A session id with its public name.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct ListEntry {
    name: String,
    id: String,
}

/// All sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    records: EncryptedStore,
    config: Config,
}

impl Sessions {
    /// Sessions in `store`, encrypted with `cipher`.
    pub fn new(store: Store, cipher: RecordCipher, env: &Env, config: Config) -> Self {
        Self {
            records: EncryptedStore::new(store, cipher, env),
            config,
        }
    }

    /// Creates a session and returns its id.
    pub async fn create<T: Serialize>(
        &self,
        account: &str,
        data: T,
    ) -> Result<String, StoreUnavailable> {
        let now = self.records.env.unix_seconds();
        let session = Session {
            account: account.to_owned(),
            created_at: now,
            last_used_at: now,
            data,
        };
        let id = self.records.secret();
        let ttl = self.config.idle_timeout.min(self.config.absolute_timeout);
        if !self
            .records
            .insert_if_absent(&session_key(&id), &session, ttl)
            .await?
        {
            // Two equal draws of 256 bits do not happen.
            return Err(StoreUnavailable);
        }
        let entry = ListEntry {
            name: self.records.env.uuid().to_string(),
            id: id.clone(),
        };
        let removed = self.change_list(account, |list| {
            list.push(entry.clone());
            let excess = list.len().saturating_sub(self.config.max_per_account);
            list.drain(..excess).collect()
        });
        let removed: Vec<Key> = removed
            .await?
            .iter()
            .map(|entry| session_key(&entry.id))
            .collect();
        self.records.delete(&removed).await?;
        Ok(id)
    }

    /// The session, unless it has ended.
    pub async fn read<T: DeserializeOwned>(
        &self,
        id: &str,
    ) -> Result<Option<Session<T>>, StoreUnavailable> {
        let read = self.records.read(&session_key(id)).await?;
        Ok(read
            .and_then(|read| self.unexpired(read))
            .map(|(session, _)| session))
    }

    /// Extends a session and changes its data. False if it has ended.
    pub async fn touch<T>(
        &self,
        id: &str,
        change: impl Fn(&mut T),
    ) -> Result<bool, StoreUnavailable>
    where
        T: Serialize + DeserializeOwned,
    {
        let key = session_key(id);
        // A competing update has extended it already, but the data must be changed all the same.
        for _ in 0..16 {
            let Some(read) = self.records.read::<Session<T>>(&key).await? else {
                return Ok(false);
            };
            let Some((mut session, read)) = self.unexpired(read) else {
                return Ok(false);
            };
            session.last_used_at = self.records.env.unix_seconds();
            change(&mut session.data);
            let ttl = self.config.idle_timeout.min(self.time_left(&session));
            if self
                .records
                .compare_and_swap(&key, &read, Some((&session, ttl)))
                .await?
            {
                return Ok(true);
            }
        }
        Err(StoreUnavailable)
    }

    /// Removes a session.
    pub async fn remove(&self, account: &str, id: &str) -> Result<(), StoreUnavailable> {
        self.records.delete(&[session_key(id)]).await?;
        let removed = self.change_list(account, |list| {
            list.retain(|entry| entry.id != id);
            Vec::new()
        });
        removed.await.map(drop)
    }

    /// Removes the session of an account by its public name; false if it has no such session.
    pub async fn remove_named(&self, account: &str, name: &str) -> Result<bool, StoreUnavailable> {
        let list = self
            .records
            .read::<Vec<ListEntry>>(&list_key(account))
            .await?;
        let list = list.and_then(|read| read.value).unwrap_or_default();
        match list.into_iter().find(|entry| entry.name == name) {
            Some(entry) => self.remove(account, &entry.id).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// The sessions of an account, the oldest first.
    pub async fn list<T: DeserializeOwned>(
        &self,
        account: &str,
    ) -> Result<Vec<SessionInfo<T>>, StoreUnavailable> {
        let list = self
            .records
            .read::<Vec<ListEntry>>(&list_key(account))
            .await?;
        let list = list.and_then(|read| read.value).unwrap_or_default();
        let keys: Vec<Key> = list.iter().map(|entry| session_key(&entry.id)).collect();
        let sessions = self.records.read_many(&keys).await?;
        let sessions_with_names = list.into_iter().zip(sessions).filter_map(|(entry, read)| {
            let (session, _) = self.unexpired(read?)?;
            let name = entry.name;
            Some(SessionInfo { name, session })
        });
        Ok(sessions_with_names.collect())
    }

    /// Removes all sessions of an account.
    pub async fn remove_all(&self, account: &str) -> Result<(), StoreUnavailable> {
        let all = self.change_list(account, std::mem::take).await?;
        let keys: Vec<Key> = all.iter().map(|entry| session_key(&entry.id)).collect();
        self.records.delete(&keys).await
    }

    /// The session, if it could be decrypted and its absolute timeout has not passed.
    fn unexpired<T>(
        &self,
        mut read: Versioned<Session<T>>,
    ) -> Option<(Session<T>, Versioned<Session<T>>)> {
        let session = read.value.take()?;
        (!self.time_left(&session).is_zero()).then_some((session, read))
    }

    fn time_left<T>(&self, session: &Session<T>) -> Duration {
        let expires_at = Duration::from_secs(session.created_at) + self.config.absolute_timeout;
        expires_at.saturating_sub(Duration::from_secs(self.records.env.unix_seconds()))
    }

    /// Updates the list of an account's sessions. `change` returns the removed entries.
    async fn change_list(
        &self,
        account: &str,
        change: impl Fn(&mut Vec<ListEntry>) -> Vec<ListEntry>,
    ) -> Result<Vec<ListEntry>, StoreUnavailable> {
        let change = |list: Option<(Vec<ListEntry>, Duration)>| {
            let mut list = list.map_or_else(Vec::new, |(list, _)| list);
            let removed = change(&mut list);
            // The list must outlive its newest session.
            (list, self.config.absolute_timeout, removed)
        };
        self.records.update(&list_key(account), change).await
    }
}

fn session_key(id: &str) -> Key {
    Key::of(SESSION, id.as_bytes(), &[])
}

fn list_key(account: &str) -> Key {
    Key::of(SESSIONS_OF_ACCOUNT, account.as_bytes(), &[])
}

#[cfg(test)]
mod tests;
