//! Encrypts records before they leave the process: AES-256-GCM. The name of the record is authenticated too, so a
//! record that was changed, or moved to another key, does not decrypt.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::config::Config;
use super::key::Key;
use bff_runtime::net::Env;

/// Bytes of the key's hash that identify the key in a record.
const ID_BYTES: usize = 4;
const KEY_BYTES: usize = 32;

/// The encryption keys: the first one encrypts, all of them decrypt. Cheap to clone.
#[derive(Clone)]
pub struct RecordCipher(Arc<[EncryptionKey]>);

struct EncryptionKey {
    id: [u8; ID_BYTES],
    key: RandomizedNonceKey,
}

/// The record was not encrypted with any of these keys under this name, or was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be decrypted")]
pub struct DecryptError;

impl RecordCipher {
    /// The keys of the configuration. Without one, a random key: its records are lost with this process.
    pub fn open(config: &Config, env: &Env) -> Result<Self, String> {
        let invalid = "store.encryption_keys: each key must be 32 bytes in base64url".to_owned();
        let mut keys = Vec::new();
        for secret in &config.encryption_keys {
            let text = secret.expose().trim().trim_end_matches('=');
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid.clone())?;
            keys.push(EncryptionKey::new(&bytes).ok_or_else(|| invalid.clone())?);
        }
        if keys.is_empty() {
            let random: Vec<u8> = (0..KEY_BYTES / 8)
                .flat_map(|_| env.random().to_le_bytes())
                .collect();
            keys.extend(EncryptionKey::new(&random));
        }
        Ok(Self(keys.into()))
    }

    /// Encrypts the content of the record `name`.
    pub fn encrypt(&self, name: &Key, secret: &[u8]) -> Result<Bytes, DecryptError> {
        let encryption_key = self.0.first().ok_or(DecryptError)?;
        let mut body = secret.to_vec();
        let aad = Aad::from(name.as_str().as_bytes());
        let nonce = encryption_key.key.seal_in_place_append_tag(aad, &mut body);
        let nonce = nonce.map_err(|_| DecryptError)?;
        Ok([&encryption_key.id[..], nonce.as_ref(), &body]
            .concat()
            .into())
    }

    /// Decrypts the content of the record `name`.
    pub fn decrypt(&self, name: &Key, encrypted: &[u8]) -> Result<Vec<u8>, DecryptError> {
        let (id, rest) = encrypted
            .split_first_chunk::<ID_BYTES>()
            .ok_or(DecryptError)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(DecryptError)?;
        // Two keys may have the same id, with a probability of one in four billion.
        for candidate in self.0.iter().filter(|key| key.id == *id) {
            let mut body = body.to_vec();
            let aad = Aad::from(name.as_str().as_bytes());
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let decrypted = candidate.key.open_in_place(nonce, aad, &mut body);
            if let Ok(secret) = decrypted.map(|secret| secret.len()) {
                body.truncate(secret);
                return Ok(body);
            }
        }
        Err(DecryptError)
    }
}

impl EncryptionKey {
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
        f.debug_struct("RecordCipher")
            .field("keys", &self.0.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Namespace;
    use bff_config::Secret;

    const NAMESPACE: Namespace = Namespace {
        name: "session",
        evictable: false,
    };

    fn cipher_with(keys: &[u8]) -> RecordCipher {
        let secret = |byte: &u8| Secret::new(URL_SAFE_NO_PAD.encode([*byte; KEY_BYTES]));
        let config = Config {
            encryption_keys: keys.iter().map(secret).collect(),
            ..Config::default()
        };
        RecordCipher::open(&config, &Env::real()).unwrap()
    }

    #[test]
    fn keys_rotate_and_a_foreign_key_does_not_decrypt() {
        let key = Key::of(NAMESPACE, b"s-1", &[]);
        let old = cipher_with(&[1]).encrypt(&key, b"token").unwrap();
        assert!(!old.windows(5).any(|w| w == b"token"));
        let both = cipher_with(&[2, 1]);
        assert_eq!(both.decrypt(&key, &old).unwrap(), b"token");
        let new = both.encrypt(&key, b"token").unwrap();
        assert_eq!(cipher_with(&[2]).decrypt(&key, &new).unwrap(), b"token");
        assert_eq!(cipher_with(&[1]).decrypt(&key, &new), Err(DecryptError));
        assert_eq!(cipher_with(&[2]).decrypt(&key, &old), Err(DecryptError));
        // Without a configured key, each process has its own.
        let generated = cipher_with(&[]);
        let encrypted = generated.encrypt(&key, b"token").unwrap();
        assert_eq!(generated.decrypt(&key, &encrypted).unwrap(), b"token");
        assert_eq!(
            cipher_with(&[]).decrypt(&key, &encrypted),
            Err(DecryptError)
        );
    }

    #[test]
    fn a_changed_moved_or_truncated_record_does_not_decrypt() {
        let (key, other) = (
            Key::of(NAMESPACE, b"s-1", &[]),
            Key::of(NAMESPACE, b"s-2", &[]),
        );
        let cipher = cipher_with(&[1]);
        let encrypted = cipher.encrypt(&key, b"token").unwrap();
        assert_ne!(encrypted, cipher.encrypt(&key, b"token").unwrap());
        assert_eq!(cipher.decrypt(&other, &encrypted), Err(DecryptError));
        for at in 0..encrypted.len() {
            let mut changed = encrypted.to_vec();
            changed[at] ^= 1;
            assert_eq!(cipher.decrypt(&key, &changed), Err(DecryptError));
            assert_eq!(cipher.decrypt(&key, &encrypted[..at]), Err(DecryptError));
        }
    }

    #[test]
    fn an_invalid_key_is_refused_without_quoting_it() {
        let config = Config {
            encryption_keys: vec![Secret::new("c2VjcmV0")],
            ..Config::default()
        };
        let line = RecordCipher::open(&config, &Env::real()).unwrap_err();
        assert!(line.starts_with("store.encryption_keys: ") && !line.contains("c2VjcmV0"));
    }
}
