//! Signing keys by generation: an RSA and an elliptic-curve pair each, made when first used.
//!
//! Making them is slow, so the pairs are shared by every set of mocks in the process: slot `g % 8` serves
//! generation `g`, under a key id of its own.

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

static POOL: [OnceLock<Option<Pair>>; SLOTS] = [const { OnceLock::new() }; SLOTS];

struct Pair {
    rsa: rsa::KeyPair,
    ec: EcdsaKeyPair,
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Algorithm {
    Rs256,
    Es256,
}

/// The keys between two rotations, counted from 0.
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
    /// The algorithm in use: RS256 and ES256 in turns.
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

    /// The signature of a message, unless the machine cannot make keys.
    pub(super) fn sign(self, alg: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let pair = self.pair()?;
        let random = SystemRandom::new();
        match alg {
            Algorithm::Rs256 => {
                let mut signature = vec![0; pair.rsa.public_modulus_len()];
                pair.rsa
                    .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .ok()?;
                Some(signature)
            }
            Algorithm::Es256 => Some(pair.ec.sign(&random, message).ok()?.as_ref().to_vec()),
        }
    }

    /// Whether a signature is this generation's.
    pub(super) fn verifies(self, alg: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let Some(pair) = self.pair() else {
            return false;
        };
        let verified = match alg {
            Algorithm::Rs256 => {
                let key =
                    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.rsa.public_key());
                key.verify(message, signature)
            }
            Algorithm::Es256 => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.ec.public_key());
                key.verify(message, signature)
            }
        };
        verified.is_ok()
    }

    /// The public half.
    pub(super) fn jwk(self, alg: Algorithm) -> Option<Jwk> {
        let (pair, kid) = (self.pair()?, self.kid(alg));
        match alg {
            Algorithm::Rs256 => {
                // PKCS #1 of 2048 bits: a head, 256 bytes of n, then 02 03 and three bytes of e.
                let (rest, e) = pair.rsa.public_key().as_ref().split_last_chunk::<3>()?;
                let n = rest.strip_suffix(&[2, 3])?.last_chunk::<256>()?;
                let (n, e) = (text(n), text(e));
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
                // Uncompressed: 4, then 32 bytes each of x and y (SEC 1 §2.3.3).
                let (x, y) = pair
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
                    x: text(x),
                    y: text(y),
                })
            }
        }
    }

    fn pair(self) -> Option<&'static Pair> {
        let slot = usize::try_from(self.0 % SLOTS as u64).ok()?;
        let make = || {
            let rsa = rsa::KeyPair::generate(KeySize::Rsa2048).ok()?;
            let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
            Some(Pair { rsa, ec })
        };
        POOL[slot].get_or_init(make).as_ref()
    }
}

/// Base64url without padding, as everything in a token is.
pub(super) fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes behind [`text`].
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
