//! Pairing a device that has no keyboard (RFC 8628): it shows a short code, which a person types in elsewhere.
//!
//! Two names lead to one pairing. The device's own is 256 bits, and by it alone it learns what became of the pairing,
//! once. The person's is short, so guessing is bounded: whoever types codes has so many tries in a time, right or wrong.
//! A code is good once: of two who decide at the same moment one does.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::encrypted::EncryptedStore;
use super::{Key, Namespace, RecordCipher, Store, StoreUnavailable};
use crate::context::Env;

const DEVICE: Namespace = Namespace {
    name: "pairing",
    evictable: false,
};

const CODE: Namespace = Namespace {
    name: "pairing-code",
    evictable: false,
};

const TRIED: Namespace = Namespace {
    name: "pairing-tried",
    evictable: false,
};

/// What a code is made of: no vowels, so that it spells nothing, and nothing that looks like something else (RFC 8628
/// §6.1). Eight of twenty are 2.5 × 10^10.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LETTERS: usize = 8;

/// How long pairings last, and how often codes may be tried.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How long a code is good. Default 10 minutes.
    pub expires_in: Duration,
    /// How many codes one account may try in that time. Default 10: typing is hard, and a guess in 10^9 is hopeless.
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

/// A pairing that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceAuthorization {
    /// The device's own secret.
    pub device_code: String,
    /// What a person types, as `BCDF-GHJK`.
    pub user_code: String,
}

/// What becomes of a code that a person typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserCodeResult<T> {
    /// It is good.
    Accepted(T),
    /// There is none such, or not any more.
    Unknown,
    /// Too many were tried.
    TooManyAttempts,
}

/// What the device is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollResult<A> {
    /// Nobody has decided.
    Pending,
    /// It may come in; told once.
    Approved(A),
    /// It may not.
    Denied,
    /// There is no such pairing, or it has ended.
    Expired,
}

/// What is kept under the device's name.
#[derive(Debug, Deserialize, Serialize)]
enum State<A> {
    Waiting,
    Approved(A),
    Denied,
}

/// What is kept under the person's name.
#[derive(Debug, Deserialize, Serialize)]
struct Shown<T> {
    device_code: String,
    holds: T,
}

/// All pairings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeviceAuthorizations {
    sealed: EncryptedStore,
    terms: Config,
}

impl DeviceAuthorizations {
    /// Pairings in `store`, sealed with `seal`.
    pub fn new(store: Store, seal: RecordCipher, world: &Env, terms: Config) -> Self {
        Self {
            sealed: EncryptedStore::new(store, seal, world),
            terms,
        }
    }

    /// Begins a pairing. `holds` is what the person is shown of the device.
    pub async fn begin<T: Serialize>(
        &self,
        holds: T,
    ) -> Result<DeviceAuthorization, StoreUnavailable> {
        let device_code = self.sealed.secret();
        let waits: State<()> = State::Waiting;
        let lasts = self.terms.expires_in;
        (self.sealed.put_new(&device(&device_code), &waits, lasts)).await?;
        let shown = Shown { device_code, holds };
        // Two of the same are shown once in a thousand years; then another is drawn.
        for _ in 0..3 {
            let user_code = self.draw();
            let key = code(&user_code);
            if self.sealed.put_new(&key, &shown, lasts).await? {
                return Ok(DeviceAuthorization {
                    device_code: shown.device_code,
                    user_code,
                });
            }
        }
        Err(StoreUnavailable)
    }

    /// What a code is for. Counts as a try of `by`, the account that typed it.
    pub async fn read<T: DeserializeOwned>(
        &self,
        by: &str,
        user_code: &str,
    ) -> Result<UserCodeResult<T>, StoreUnavailable> {
        if !self.check_attempts(by).await? {
            return Ok(UserCodeResult::TooManyAttempts);
        }
        let read = self.sealed.read::<Shown<T>>(&code(user_code)).await?;
        let shown = read.and_then(|read| read.value);
        Ok(shown.map_or(UserCodeResult::Unknown, |shown| {
            UserCodeResult::Accepted(shown.holds)
        }))
    }

    /// Lets the device in, with what it is given, or (without) denies it. The code is good no more. Counts as a try.
    pub async fn decide<A: Serialize>(
        &self,
        by: &str,
        user_code: &str,
        given: Option<A>,
    ) -> Result<UserCodeResult<()>, StoreUnavailable> {
        if !self.check_attempts(by).await? {
            return Ok(UserCodeResult::TooManyAttempts);
        }
        let key = code(user_code);
        let Some(read) = self
            .sealed
            .read::<Shown<serde::de::IgnoredAny>>(&key)
            .await?
        else {
            return Ok(UserCodeResult::Unknown);
        };
        let nothing: Option<(&(), Duration)> = None;
        let (Some(shown), true) = (&read.value, self.sealed.swap(&key, &read, nothing).await?)
        else {
            return Ok(UserCodeResult::Unknown);
        };
        let key = device(&shown.device_code);
        let Some(waits) = self
            .sealed
            .read::<State<serde::de::IgnoredAny>>(&key)
            .await?
        else {
            return Ok(UserCodeResult::Unknown);
        };
        let state = given.map_or(State::Denied, State::Approved);
        let told = self
            .sealed
            .swap(&key, &waits, Some((&state, self.terms.expires_in)));
        Ok(if told.await? {
            UserCodeResult::Accepted(())
        } else {
            UserCodeResult::Unknown
        })
    }

    /// What became of the device's pairing. What it is given is told once.
    pub async fn poll<A: DeserializeOwned>(
        &self,
        device_code: &str,
    ) -> Result<PollResult<A>, StoreUnavailable> {
        let key = device(device_code);
        let Some(read) = self.sealed.read::<State<A>>(&key).await? else {
            return Ok(PollResult::Expired);
        };
        match &read.value {
            None => return Ok(PollResult::Expired),
            Some(State::Waiting) => return Ok(PollResult::Pending),
            Some(State::Approved(_) | State::Denied) => {}
        }
        let nothing: Option<(&(), Duration)> = None;
        if !self.sealed.swap(&key, &read, nothing).await? {
            return Ok(PollResult::Expired);
        }
        Ok(match read.value {
            Some(State::Approved(given)) => PollResult::Approved(given),
            Some(State::Denied) => PollResult::Denied,
            _ => PollResult::Expired,
        })
    }

    /// The device gives up.
    pub async fn remove(&self, begun: &DeviceAuthorization) -> Result<(), StoreUnavailable> {
        let keys = [device(&begun.device_code), code(&begun.user_code)];
        self.sealed.delete(&keys).await
    }

    /// Counts a try, before anything is looked up, so that tries side by side count as well.
    async fn check_attempts(&self, by: &str) -> Result<bool, StoreUnavailable> {
        let Config {
            expires_in: lasts,
            max_attempts: tries,
        } = self.terms;
        let key = Key::of(TRIED, by.as_bytes(), &[]);
        let count = |tried: Option<(u32, Duration)>| match tried {
            None => (1, lasts, true),
            Some((tried, left)) => (tried.saturating_add(1), left, tried < tries),
        };
        self.sealed.update(&key, count).await
    }

    fn draw(&self) -> String {
        let mut drawn = self.sealed.world.random();
        let mut text = String::with_capacity(CODE_LETTERS + 1);
        for at in 0..CODE_LETTERS {
            if at == CODE_LETTERS / 2 {
                text.push('-');
            }
            // 2^64 is so much more than 20^8 that no letter is likelier than another by anything that counts.
            let letter = usize::try_from(drawn % 20).unwrap_or(0);
            text.push(char::from(LETTERS[letter]));
            drawn /= 20;
        }
        text
    }
}

fn device(device_code: &str) -> Key {
    Key::of(DEVICE, device_code.as_bytes(), &[])
}

/// However it was typed: in small letters, with spaces, without the dash.
fn code(user_code: &str) -> Key {
    let letters = user_code.bytes().filter(u8::is_ascii_alphanumeric);
    let letters: Vec<u8> = letters.map(|b| b.to_ascii_uppercase()).take(64).collect();
    Key::of(CODE, &letters, &[])
}

#[cfg(test)]
mod tests;
