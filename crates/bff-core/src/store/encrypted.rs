//! Typed records that are sealed before they leave the process, and changed only as they were read.

use bytes::Bytes;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Key, Record, RecordCipher, Store, StoreUnavailable};
use crate::context::Env;

/// How often a change is tried that others make at the same time.
const TRIES: u32 = 16;

/// A store whose records nobody else can read.
#[derive(Clone, Debug)]
pub(super) struct EncryptedStore {
    store: Store,
    seal: RecordCipher,
    pub(super) world: Env,
}

/// A record as it was read: what it holds, and its bytes, by which it is changed.
#[derive(Debug)]
pub(super) struct Versioned<T> {
    /// None when it was sealed with a key that is not ours any more: it says nothing, and may be replaced.
    pub(super) value: Option<T>,
    held: Bytes,
}

impl EncryptedStore {
    pub(super) fn new(store: Store, seal: RecordCipher, world: &Env) -> Self {
        let world = world.clone();
        Self { store, seal, world }
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        key: &Key,
    ) -> Result<Option<Versioned<T>>, StoreUnavailable> {
        let mut read = self.read_many(std::slice::from_ref(key)).await?;
        Ok(read.pop().flatten())
    }

    /// In the order of the keys, in one round trip.
    pub(super) async fn read_many<T: DeserializeOwned>(
        &self,
        keys: &[Key],
    ) -> Result<Vec<Option<Versioned<T>>>, StoreUnavailable> {
        let kept = self.store.get_many(keys).await?;
        let read = |(key, held): (&Key, Option<Bytes>)| held.map(|held| self.open(key, held));
        Ok(keys.iter().zip(kept).map(read).collect())
    }

    /// Keeps a record under a key that nobody has; false when somebody has it.
    pub(super) async fn put_new(
        &self,
        key: &Key,
        value: &impl Serialize,
        ttl: Duration,
    ) -> Result<bool, StoreUnavailable> {
        let record = self.record(key, value, ttl)?;
        Ok(self.store.insert_if_absent(&record).await?.is_none())
    }

    /// Replaces a record, or forgets it; false when it is not what was read any more.
    pub(super) async fn swap<T>(
        &self,
        key: &Key,
        read: &Versioned<T>,
        with: Option<(&impl Serialize, Duration)>,
    ) -> Result<bool, StoreUnavailable> {
        let with = match with {
            None => None,
            Some((value, ttl)) => Some((self.record(key, value, ttl)?.value, ttl)),
        };
        self.store.compare_and_swap(key, &read.held, with).await
    }

    /// Changes a record that may not be there yet, whoever else changes it too. `change` is told what it holds and how
    /// long it is kept yet, and says what it shall hold and for how long.
    pub(super) async fn update<T, R>(
        &self,
        key: &Key,
        mut change: impl FnMut(Option<(T, Duration)>) -> (T, Duration, R),
    ) -> Result<R, StoreUnavailable>
    where
        T: Serialize + DeserializeOwned,
    {
        for _ in 0..TRIES {
            let (first, ttl, told) = change(None);
            let there = self
                .store
                .insert_if_absent(&self.record(key, &first, ttl)?)
                .await?;
            let Some(there) = there else {
                return Ok(told);
            };
            let read = self.open(key, there.value);
            let held = read.held.clone();
            let (next, ttl, told) = change(read.value.map(|value| (value, there.left)));
            let with = Some((self.record(key, &next, ttl)?.value, ttl));
            if self.store.compare_and_swap(key, &held, with).await? {
                return Ok(told);
            }
        }
        // So many at once are not one person, and whoever counts must not lose count.
        Err(StoreUnavailable)
    }

    /// Forgets a record, whatever it holds.
    pub(super) async fn delete(&self, keys: &[Key]) -> Result<(), StoreUnavailable> {
        self.store.delete_many(keys).await
    }

    /// 256 bits that nobody guesses, in base64url.
    pub(super) fn secret(&self) -> String {
        use base64::Engine as _;
        let drawn: Vec<u8> = (0..4)
            .flat_map(|_| self.world.random().to_le_bytes())
            .collect();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(drawn)
    }

    fn open<T: DeserializeOwned>(&self, key: &Key, held: Bytes) -> Versioned<T> {
        let opened = self.seal.decrypt(key, &held).ok();
        let value = opened.and_then(|text| serde_json::from_slice(&text).ok());
        Versioned { value, held }
    }

    fn record(
        &self,
        key: &Key,
        value: &impl Serialize,
        ttl: Duration,
    ) -> Result<Record, StoreUnavailable> {
        let text = serde_json::to_vec(value).map_err(|_| StoreUnavailable)?;
        Ok(Record {
            key: key.clone(),
            value: self.seal.seal(key, &text).map_err(|_| StoreUnavailable)?,
            ttl,
        })
    }
}
