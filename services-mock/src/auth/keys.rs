//! Signing keys by generation: one RSA key pair and one elliptic-curve key pair, generated on first use.
//!
//! Key generation is slow, so all mocks of the process share the key pairs. Generation `g` uses slot `g % 8` with its own
//! key id.

use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

const SLOTS: usize = 8;

static POOL: [OnceLock<Option<KeyPairs>>; SLOTS] = [const { OnceLock::new() }; SLOTS];

struct KeyPairs {
    rsa: rsa::KeyPair,
    ec: EcdsaKeyPair,
}

/// The signature algorithm of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Algorithm {
    Rs256,
    Es256,
}

/// The keys between two rotations, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(pub(super) u64);

/// A public key (RFC 7517).
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Jwk {
    Rsa {
        kty: &'static str,
        r#use: &'static str,
        alg: Algorithm,
        kid: String,
        n: String,
        e: String,
    },
    Ec {
        kty: &'static str,
        crv: &'static str,
        r#use: &'static str,
        alg: Algorithm,
        kid: String,
        x: String,
        y: String,
    },
}

impl Generation {
    /// The default algorithm: RS256 and ES256 alternate.
    pub(super) const fn algorithm(self) -> Algorithm {
        if self.0.is_multiple_of(2) {
            Algorithm::Rs256
        } else {
            Algorithm::Es256
        }
    }

    /// The key id.
    pub(super) fn kid(self, alg: Algorithm) -> String {
        match alg {
            Algorithm::Rs256 => format!("rs256-{}", self.0 + 1),
            Algorithm::Es256 => format!("es256-{}", self.0 + 1),
        }
    }

    /// Signs a message; `None` if key generation fails.
    pub(super) fn sign(self, alg: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let key_pairs = self.key_pairs()?;
        let random = SystemRandom::new();
        match alg {
            Algorithm::Rs256 => {
                let mut signature = vec![0; key_pairs.rsa.public_modulus_len()];
                key_pairs
                    .rsa
                    .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .ok()?;
                Some(signature)
            }
            Algorithm::Es256 => Some(key_pairs.ec.sign(&random, message).ok()?.as_ref().to_vec()),
        }
    }

    /// Whether the signature was made by this generation.
    pub(super) fn verify(self, alg: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let Some(key_pairs) = self.key_pairs() else {
            return false;
        };
        let verified = match alg {
            Algorithm::Rs256 => {
                let key =
                    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key_pairs.rsa.public_key());
                key.verify(message, signature)
            }
            Algorithm::Es256 => {
                let key =
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key_pairs.ec.public_key());
                key.verify(message, signature)
            }
        };
        verified.is_ok()
    }

    /// The public key.
    pub(super) fn jwk(self, alg: Algorithm) -> Option<Jwk> {
        let (key_pairs, kid) = (self.key_pairs()?, self.kid(alg));
        match alg {
            Algorithm::Rs256 => {
                // PKCS #1 with 2048 bits: a header, 256 bytes of n, then 02 03 and three bytes of e.
                let (rest, e) = key_pairs
                    .rsa
                    .public_key()
                    .as_ref()
                    .split_last_chunk::<3>()?;
                let n = rest.strip_suffix(&[2, 3])?.last_chunk::<256>()?;
                let (n, e) = (encode_base64url(n), encode_base64url(e));
                Some(Jwk::Rsa {
                    kty: "RSA",
                    r#use: "sig",
                    alg,
                    kid,
                    n,
                    e,
                })
            }
            Algorithm::Es256 => {
                // Uncompressed: 4, then 32 bytes of x and 32 bytes of y (SEC 1 §2.3.3).
                let (x, y) = key_pairs
                    .ec
                    .public_key()
                    .as_ref()
                    .get(1..)?
                    .split_at_checked(32)?;
                Some(Jwk::Ec {
                    kty: "EC",
                    crv: "P-256",
                    r#use: "sig",
                    alg,
                    kid,
                    x: encode_base64url(x),
                    y: encode_base64url(y),
                })
            }
        }
    }

    fn key_pairs(self) -> Option<&'static KeyPairs> {
        let slot = usize::try_from(self.0 % SLOTS as u64).ok()?;
        let generate = || {
            let rsa = rsa::KeyPair::generate(KeySize::Rsa2048).ok()?;
            let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
            Some(KeyPairs { rsa, ec })
        };
        POOL[slot].get_or_init(generate).as_ref()
    }
}

/// Encodes base64url without padding, the encoding of all parts of a token.
pub(super) fn encode_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes base64url without padding.
pub(super) fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
