//! Device authorization (RFC 8628), for a device without a keyboard: it shows a short code, and a person enters the
//! code on another device.
//!
//! Each authorization has two names. The device code has 256 bits; with it the device polls, and gets the result once.
//! The user code is short, so guesses are limited: each account may enter a limited number of codes in a period, right
//! or wrong. A user code works once: of two decisions at the same moment, one succeeds.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::encrypted::EncryptedStore;
use super::{Key, Namespace, RecordCipher, Store, StoreUnavailable};
use bff_runtime::net::Env;

const DEVICE_CODES: Namespace = Namespace {
    name: "device-authorization",
    evictable: false,
};

const USER_CODES: Namespace = Namespace {
    name: "user-code",
    evictable: false,
};

const ATTEMPTS: Namespace = Namespace {
    name: "user-code-attempts",
    evictable: false,
};

/// The letters of a user code: no vowels, so that it spells no word, and no similar letters (RFC 8628 §6.1). Eight of
/// twenty letters are 2.5 × 10^10 codes.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LENGTH: usize = 8;

/// The lifetime of authorizations, and the number of codes that may be tried.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The lifetime of a user code. Default 10 minutes.
    pub expires_in: Duration,
    /// The codes that one account may enter in that time. Default 10: enough for typing errors, too few for guessing.
    pub max_attempts: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            expires_in: Duration::from_secs(600),
            max_attempts: 10,
        }
    }
}

/// A started authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceAuthorization {
    /// The device's secret.
    pub device_code: String,
    /// The code that a person enters, such as `BCDF-GHJK`.
    pub user_code: String,
}

/// The result of entering a user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserCodeResult<T> {
    /// The code is valid.
    Accepted(T),
    /// The code does not exist, was used or has expired.
    Unknown,
    /// The account has entered too many codes.
    TooManyAttempts,
}

/// The result of polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollResult<A> {
    /// No decision yet.
    Pending,
    /// Approved, with the grant for the device. Returned once.
    Approved(A),
    /// Denied. Returned once.
    Denied,
    /// The authorization does not exist, or has ended.
    Expired,
}

/// The record under the device code.
#[derive(Debug, Deserialize, Serialize)]
enum DeviceRecord<A> {
    Pending,
    Approved(A),
    Denied,
}

/// The record under the user code.
#[derive(Debug, Deserialize, Serialize)]
struct UserCodeRecord<T> {
    device_code: String,
    device_info: T,
}

/// All authorizations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeviceAuthorizations {
    records: EncryptedStore,
    config: Config,
}

impl DeviceAuthorizations {
    /// Authorizations in `store`, encrypted with `cipher`.
    pub fn new(store: Store, cipher: RecordCipher, env: &Env, config: Config) -> Self {
        Self {
            records: EncryptedStore::new(store, cipher, env),
            config,
        }
    }

    /// Starts an authorization. The person sees `device_info`, which describes the device.
    pub async fn begin<T: Serialize>(
        &self,
        device_info: T,
    ) -> Result<DeviceAuthorization, StoreUnavailable> {
        let device_code = self.records.secret();
        let pending: DeviceRecord<()> = DeviceRecord::Pending;
        let expires_in = self.config.expires_in;
        (self
            .records
            .insert_if_absent(&device_key(&device_code), &pending, expires_in))
        .await?;
        let record = UserCodeRecord {
            device_code,
            device_info,
        };
        // A random code is rarely in use already. Then another one is tried.
        for _ in 0..3 {
            let user_code = self.random_user_code();
            let key = user_code_key(&user_code);
            if self
                .records
                .insert_if_absent(&key, &record, expires_in)
                .await?
            {
                return Ok(DeviceAuthorization {
                    device_code: record.device_code,
                    user_code,
                });
            }
        }
        Err(StoreUnavailable)
    }

    /// Returns the device information of a user code. Counts as an attempt of `account`.
    pub async fn read<T: DeserializeOwned>(
        &self,
        account: &str,
        user_code: &str,
    ) -> Result<UserCodeResult<T>, StoreUnavailable> {
        if !self.check_attempts(account).await? {
            return Ok(UserCodeResult::TooManyAttempts);
        }
        let read = self
            .records
            .read::<UserCodeRecord<T>>(&user_code_key(user_code))
            .await?;
        let record = read.and_then(|read| read.value);
        Ok(record.map_or(UserCodeResult::Unknown, |record| {
            UserCodeResult::Accepted(record.device_info)
        }))
    }

    /// Approves the device with `grant`, or denies it without one. The code cannot be used again. Counts as an attempt.
    pub async fn decide<A: Serialize>(
        &self,
        account: &str,
        user_code: &str,
        grant: Option<A>,
    ) -> Result<UserCodeResult<()>, StoreUnavailable> {
        if !self.check_attempts(account).await? {
            return Ok(UserCodeResult::TooManyAttempts);
        }
        let key = user_code_key(user_code);
        let Some(read) = self
            .records
            .read::<UserCodeRecord<serde::de::IgnoredAny>>(&key)
            .await?
        else {
            return Ok(UserCodeResult::Unknown);
        };
        let nothing: Option<(&(), Duration)> = None;
        let (Some(record), true) = (
            &read.value,
            self.records.compare_and_swap(&key, &read, nothing).await?,
        ) else {
            return Ok(UserCodeResult::Unknown);
        };
        let key = device_key(&record.device_code);
        let Some(pending) = self
            .records
            .read::<DeviceRecord<serde::de::IgnoredAny>>(&key)
            .await?
        else {
            return Ok(UserCodeResult::Unknown);
        };
        let state = grant.map_or(DeviceRecord::Denied, DeviceRecord::Approved);
        let swapped =
            self.records
                .compare_and_swap(&key, &pending, Some((&state, self.config.expires_in)));
        Ok(if swapped.await? {
            UserCodeResult::Accepted(())
        } else {
            UserCodeResult::Unknown
        })
    }

    /// The result for the device. A decision is returned once.
    pub async fn poll<A: DeserializeOwned>(
        &self,
        device_code: &str,
    ) -> Result<PollResult<A>, StoreUnavailable> {
        let key = device_key(device_code);
        let Some(read) = self.records.read::<DeviceRecord<A>>(&key).await? else {
            return Ok(PollResult::Expired);
        };
        match &read.value {
            None => return Ok(PollResult::Expired),
            Some(DeviceRecord::Pending) => return Ok(PollResult::Pending),
            Some(DeviceRecord::Approved(_) | DeviceRecord::Denied) => {}
        }
        let nothing: Option<(&(), Duration)> = None;
        if !self.records.compare_and_swap(&key, &read, nothing).await? {
            return Ok(PollResult::Expired);
        }
        Ok(match read.value {
            Some(DeviceRecord::Approved(grant)) => PollResult::Approved(grant),
            Some(DeviceRecord::Denied) => PollResult::Denied,
            _ => PollResult::Expired,
        })
    }

    /// Removes an authorization, for a device that gives up.
    pub async fn remove(
        &self,
        authorization: &DeviceAuthorization,
    ) -> Result<(), StoreUnavailable> {
        let keys = [
            device_key(&authorization.device_code),
            user_code_key(&authorization.user_code),
        ];
        self.records.delete(&keys).await
    }

    /// Counts an attempt. Before any lookup, so that simultaneous attempts count too.
    async fn check_attempts(&self, account: &str) -> Result<bool, StoreUnavailable> {
        let Config {
            expires_in,
            max_attempts,
        } = self.config;
        let key = Key::of(ATTEMPTS, account.as_bytes(), &[]);
        let count = |attempts: Option<(u32, Duration)>| match attempts {
            None => (1, expires_in, true),
            Some((attempts, ttl_left)) => (
                attempts.saturating_add(1),
                ttl_left,
                attempts < max_attempts,
            ),
        };
        self.records.update(&key, count).await
    }

    fn random_user_code(&self) -> String {
        let mut random = self.records.env.random();
        let mut text = String::with_capacity(CODE_LENGTH + 1);
        for index in 0..CODE_LENGTH {
            if index == CODE_LENGTH / 2 {
                text.push('-');
            }
            // 2^64 is so much larger than 20^8 that the bias of the remainder does not matter.
            let letter = usize::try_from(random % 20).unwrap_or(0);
            text.push(char::from(LETTERS[letter]));
            random /= 20;
        }
        text
    }
}

fn device_key(device_code: &str) -> Key {
    Key::of(DEVICE_CODES, device_code.as_bytes(), &[])
}

/// Lower case, spaces and a missing dash are accepted.
fn user_code_key(user_code: &str) -> Key {
    let letters = user_code.bytes().filter(u8::is_ascii_alphanumeric);
    let letters: Vec<u8> = letters.map(|b| b.to_ascii_uppercase()).take(64).collect();
    Key::of(USER_CODES, &letters, &[])
}

#[cfg(test)]
mod tests;
