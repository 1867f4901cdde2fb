//! Secrets are sealed before they leave the process: AES-256-GCM, bound to the key of the record they are kept under,
//! so that a record moved to another key opens no more than one that was changed.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::{Config, Key};
use crate::context::Env;

/// How many bytes of a key's hash say which key it was.
const ID_BYTES: usize = 4;
const KEY_BYTES: usize = 32;

/// The keys: the first one seals, all of them open. Cheap to clone.
#[derive(Clone)]
pub struct RecordCipher(Arc<[SealingKey]>);

struct SealingKey {
    id: [u8; ID_BYTES],
    key: RandomizedNonceKey,
}

/// It was not sealed by any of these keys for this record, or was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record does not open")]
pub struct DecryptError;

impl RecordCipher {
    /// The keys of the configuration; without one a key that lives as long as this process, whose records do too.
    pub fn open(config: &Config, world: &Env) -> Result<Self, String> {
        let refuse = "store.encryption_keys: each is 32 bytes in base64url".to_owned();
        let mut keys = Vec::new();
        for secret in &config.encryption_keys {
            let text = secret.expose().trim().trim_end_matches('=');
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refuse.clone())?;
            keys.push(SealingKey::new(&bytes).ok_or_else(|| refuse.clone())?);
        }
        if keys.is_empty() {
            let drawn: Vec<u8> = (0..KEY_BYTES / 8)
                .flat_map(|_| world.random().to_le_bytes())
                .collect();
            keys.extend(SealingKey::new(&drawn));
        }
        Ok(Self(keys.into()))
    }

    /// Seals what is to be kept under `of`.
    pub fn seal(&self, of: &Key, secret: &[u8]) -> Result<Bytes, DecryptError> {
        let with = self.0.first().ok_or(DecryptError)?;
        let mut body = secret.to_vec();
        let aad = Aad::from(of.as_str().as_bytes());
        let nonce = with.key.seal_in_place_append_tag(aad, &mut body);
        let nonce = nonce.map_err(|_| DecryptError)?;
        Ok([&with.id[..], nonce.as_ref(), &body].concat().into())
    }

    /// Opens what was kept under `of`.
    pub fn decrypt(&self, of: &Key, sealed: &[u8]) -> Result<Vec<u8>, DecryptError> {
        let (id, rest) = sealed.split_first_chunk::<ID_BYTES>().ok_or(DecryptError)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(DecryptError)?;
        // Two keys may share an id, one in four billion.
        for with in self.0.iter().filter(|key| key.id == *id) {
            let mut body = body.to_vec();
            let aad = Aad::from(of.as_str().as_bytes());
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let opened = with.key.open_in_place(nonce, aad, &mut body);
            if let Ok(secret) = opened.map(|secret| secret.len()) {
                body.truncate(secret);
                return Ok(body);
            }
        }
        Err(DecryptError)
    }
}

impl SealingKey {
    fn new(bytes: &[u8]) -> Option<Self> {
        let hash = digest::digest(&digest::SHA256, bytes);
        Some(Self {
            id: *hash.as_ref().first_chunk()?,
            key: RandomizedNonceKey::new(&AES_256_GCM, bytes).ok()?,
        })
    }
}

impl fmt::Debug for RecordCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("keys", &self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::store::Namespace;

    const SPACE: Namespace = Namespace {
        name: "session",
        evictable: false,
    };

    fn with(keys: &[u8]) -> RecordCipher {
        let secret = |byte: &u8| Secret::new(URL_SAFE_NO_PAD.encode([*byte; KEY_BYTES]));
        let config = Config {
            encryption_keys: keys.iter().map(secret).collect(),
            ..Config::default()
        };
        RecordCipher::open(&config, &Env::real()).unwrap()
    }

    #[test]
    fn keys_rotate_and_nobody_elses_opens() {
        let key = Key::of(SPACE, b"s-1", &[]);
        let old = with(&[1]).seal(&key, b"token").unwrap();
        assert!(!old.windows(5).any(|w| w == b"token"));
        let both = with(&[2, 1]);
        assert_eq!(both.decrypt(&key, &old).unwrap(), b"token");
        let new = both.seal(&key, b"token").unwrap();
        assert_eq!(with(&[2]).decrypt(&key, &new).unwrap(), b"token");
        assert_eq!(with(&[1]).decrypt(&key, &new), Err(DecryptError));
        assert_eq!(with(&[2]).decrypt(&key, &old), Err(DecryptError));
        // A process without a key seals for itself.
        let own = with(&[]);
        let sealed = own.seal(&key, b"token").unwrap();
        assert_eq!(own.decrypt(&key, &sealed).unwrap(), b"token");
        assert_eq!(with(&[]).decrypt(&key, &sealed), Err(DecryptError));
    }

    #[test]
    fn a_record_that_was_changed_moved_or_cut_does_not_open() {
        let (key, other) = (Key::of(SPACE, b"s-1", &[]), Key::of(SPACE, b"s-2", &[]));
        let seal = with(&[1]);
        let sealed = seal.seal(&key, b"token").unwrap();
        assert_ne!(sealed, seal.seal(&key, b"token").unwrap());
        assert_eq!(seal.decrypt(&other, &sealed), Err(DecryptError));
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert_eq!(seal.decrypt(&key, &changed), Err(DecryptError));
            assert_eq!(seal.decrypt(&key, &sealed[..at]), Err(DecryptError));
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused_without_its_text() {
        let config = Config {
            encryption_keys: vec![Secret::new("c2VjcmV0")],
            ..Config::default()
        };
        let line = RecordCipher::open(&config, &Env::real()).unwrap_err();
        assert!(line.starts_with("store.encryption_keys: ") && !line.contains("c2VjcmV0"));
    }
}
