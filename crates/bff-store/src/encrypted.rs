//! Typed records that are encrypted before they leave the process. An update fails if the record changed since the
//! read.

use bytes::Bytes;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Key, Record, RecordCipher, Store, StoreUnavailable};
use bff_runtime::net::Env;

/// The attempts of an update that competes with others.
const ATTEMPTS: u32 = 16;

/// A store with encrypted records.
#[derive(Clone, Debug)]
pub(super) struct EncryptedStore {
    store: Store,
    cipher: RecordCipher,
    pub(super) env: Env,
}

/// A record as it was read: its value, and its bytes for a compare-and-swap.
#[derive(Debug)]
pub(super) struct Versioned<T> {
    /// `None` if no current key decrypts the record. It can be replaced.
    pub(super) value: Option<T>,
    bytes: Bytes,
}

impl EncryptedStore {
    pub(super) fn new(store: Store, cipher: RecordCipher, env: &Env) -> Self {
        let env = env.clone();
        Self { store, cipher, env }
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        key: &Key,
    ) -> Result<Option<Versioned<T>>, StoreUnavailable> {
        let mut read = self.read_many(std::slice::from_ref(key)).await?;
        Ok(read.pop().flatten())
    }

    /// The records in the order of the keys. One round trip.
    pub(super) async fn read_many<T: DeserializeOwned>(
        &self,
        keys: &[Key],
    ) -> Result<Vec<Option<Versioned<T>>>, StoreUnavailable> {
        let records = self.store.get_many(keys).await?;
        let read =
            |(key, bytes): (&Key, Option<Bytes>)| bytes.map(|bytes| self.decrypt(key, bytes));
        Ok(keys.iter().zip(records).map(read).collect())
    }

    /// Stores a record if its key has no record yet; returns whether it was stored.
    pub(super) async fn insert_if_absent(
        &self,
        key: &Key,
        value: &impl Serialize,
        ttl: Duration,
    ) -> Result<bool, StoreUnavailable> {
        let record = self.encrypt_record(key, value, ttl)?;
        Ok(self.store.insert_if_absent(&record).await?.is_none())
    }

    /// Replaces or deletes a record; false if it changed since `read`.
    pub(super) async fn compare_and_swap<T>(
        &self,
        key: &Key,
        read: &Versioned<T>,
        replacement: Option<(&impl Serialize, Duration)>,
    ) -> Result<bool, StoreUnavailable> {
        let replacement = match replacement {
            None => None,
            Some((value, ttl)) => Some((self.encrypt_record(key, value, ttl)?.value, ttl)),
        };
        self.store
            .compare_and_swap(key, &read.bytes, replacement)
            .await
    }

    /// Updates a record, which may be absent, and retries if others update it too. `change` gets the value and the rest
    /// of its TTL, and returns the new value, its TTL and the result.
    pub(super) async fn update<T, R>(
        &self,
        key: &Key,
        mut change: impl FnMut(Option<(T, Duration)>) -> (T, Duration, R),
    ) -> Result<R, StoreUnavailable>
    where
        T: Serialize + DeserializeOwned,
    {
        for _ in 0..ATTEMPTS {
            let (first, ttl, result) = change(None);
            let existing = self
                .store
                .insert_if_absent(&self.encrypt_record(key, &first, ttl)?)
                .await?;
            let Some(existing) = existing else {
                return Ok(result);
            };
            let read = self.decrypt(key, existing.value);
            let bytes = read.bytes.clone();
            let (next, ttl, result) = change(read.value.map(|value| (value, existing.ttl_left)));
            let replacement = Some((self.encrypt_record(key, &next, ttl)?.value, ttl));
            if self
                .store
                .compare_and_swap(key, &bytes, replacement)
                .await?
            {
                return Ok(result);
            }
        }
        // One person does not send so many requests at once. Failing is safe, because a counter must not lose a count.
        Err(StoreUnavailable)
    }

    /// Deletes records.
    pub(super) async fn delete(&self, keys: &[Key]) -> Result<(), StoreUnavailable> {
        self.store.delete_many(keys).await
    }

    /// 256 random bits in base64url.
    pub(super) fn secret(&self) -> String {
        use base64::Engine as _;
        let random: Vec<u8> = (0..4)
            .flat_map(|_| self.env.random().to_le_bytes())
            .collect();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random)
    }

    fn decrypt<T: DeserializeOwned>(&self, key: &Key, bytes: Bytes) -> Versioned<T> {
        let decrypted = self.cipher.decrypt(key, &bytes).ok();
        let value = decrypted.and_then(|text| serde_json::from_slice(&text).ok());
        Versioned { value, bytes }
    }

    fn encrypt_record(
        &self,
        key: &Key,
        value: &impl Serialize,
        ttl: Duration,
    ) -> Result<Record, StoreUnavailable> {
        let text = serde_json::to_vec(value).map_err(|_| StoreUnavailable)?;
        Ok(Record {
            key: key.clone(),
            value: self
                .cipher
                .encrypt(key, &text)
                .map_err(|_| StoreUnavailable)?,
            ttl,
        })
    }
}
