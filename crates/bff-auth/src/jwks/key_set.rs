//! Parses a JWKS (RFC 7517) and selects the keys that can verify tokens.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A supported signature algorithm (RFC 7518 §3.1). `none` and symmetric algorithms are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
}

/// A JWKS. Each key is parsed separately, because an unsupported key must not affect the others (§5).
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    #[serde(deserialize_with = "bff_upstream::omit_undecodable")]
    keys: Vec<Value>,
}

/// One key of the document. Other members, such as `x5c`, are deliberately ignored.
#[derive(Debug, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A public key that can verify tokens.
#[derive(Debug)]
pub(crate) struct Key {
    kid: Box<str>,
    algorithm: Algorithm,
    decoding: DecodingKey,
    /// The public numbers, to find out if a key id still has the same key.
    numbers: [Vec<u8>; 2],
}

/// The keys of one document.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
    /// Increases when a key is removed or changed. Cached tokens of older generations are not valid.
    pub(super) generation: u64,
}

/// Maximum number of keys that are read. Issuers publish two or three.
const MAX_KEYS: usize = 64;
/// Accepted sizes of RSA moduli: RFC 7518 §3.3 requires 2048 bits, the crypto library allows 8192.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

impl KeySet {
    /// The supported keys of `document`; `None` without any. `before` is the set that this one replaces.
    pub(super) fn read(document: &Document, before: Option<&Self>) -> Option<Self> {
        let keys: Vec<Arc<Key>> = document
            .keys
            .iter()
            .take(MAX_KEYS)
            .filter_map(|value| Jwk::deserialize(value).ok()?.to_key())
            .map(Arc::new)
            .collect();
        let generation = before.map_or(0, |before| {
            let still_exists = |old: &Arc<Key>| keys.iter().any(|new| new.is_same(old));
            before.generation + u64::from(!before.keys.iter().all(still_exists))
        });
        (!keys.is_empty()).then_some(Self { keys, generation })
    }

    /// The key with the id `kid`. Keys of different types can have the same id (§4.5), so `algorithm` is preferred.
    pub(super) fn find(&self, kid: &str, algorithm: Algorithm) -> Option<&Arc<Key>> {
        let with_id = || self.keys.iter().filter(|key| &*key.kid == kid);
        with_id()
            .find(|key| key.algorithm == algorithm)
            .or_else(|| with_id().next())
    }
}

impl Key {
    /// The algorithm of the key. The key determines it, not the token (RFC 8725 §3.1).
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key for the crypto library.
    pub(crate) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    fn is_same(&self, other: &Self) -> bool {
        self.kid == other.kid && self.algorithm == other.algorithm && self.numbers == other.numbers
    }
}

impl Jwk {
    /// The key, if it can verify tokens: for signatures, of a supported type, strong enough, and with an id.
    fn to_key(&self) -> Option<Key> {
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        let for_signatures = self.purpose.as_deref().is_none_or(|p| p == "sig")
            && self.key_ops.as_ref().is_none_or(verifies);
        let kid = self.kid.as_deref().filter(|_| for_signatures)?;
        let allows = |alg: &str| self.alg.as_deref().is_none_or(|a| a == alg);
        let (algorithm, decoding, numbers) = match self.kty.as_str() {
            "RSA" if allows("RS256") => self.rsa()?,
            "EC" if allows("ES256") && self.crv.as_deref() == Some("P-256") => self.p256()?,
            _ => return None,
        };
        Some(Key {
            kid: kid.into(),
            algorithm,
            decoding,
            numbers,
        })
    }

    fn rsa(&self) -> Option<(Algorithm, DecodingKey, [Vec<u8>; 2])> {
        let (n, e) = (decode(self.n.as_ref())?, decode(self.e.as_ref())?);
        let zeros = n.iter().take_while(|b| **b == 0).count();
        let n = n.get(zeros..)?.to_vec();
        let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
        if !RSA_BITS.contains(&bits) {
            return None;
        }
        let key = DecodingKey::from_rsa_raw_components(&n, &e);
        Some((Algorithm::RS256, key, [n, e]))
    }

    fn p256(&self) -> Option<(Algorithm, DecodingKey, [Vec<u8>; 2])> {
        let (x, y) = (decode(self.x.as_ref())?, decode(self.y.as_ref())?);
        // Coordinates have their full length (RFC 7518 §6.2.1.2). During verification the crypto library checks that
        // the point is on the curve.
        if x.len() != 32 || y.len() != 32 {
            return None;
        }
        let key = DecodingKey::from_ec_der(&[&[4], &x[..], &y[..]].concat());
        Some((Algorithm::ES256, key, [x, y]))
    }
}

fn decode(text: Option<&String>) -> Option<Vec<u8>> {
    // RFC 7515 §2 forbids padding, but some issuers send it.
    URL_SAFE_NO_PAD.decode(text?.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::URL_SAFE;
    use proptest::prelude::*;
    use serde_json::json;

    fn set(keys: Value, before: Option<&KeySet>) -> Option<KeySet> {
        let document = serde_json::from_value(json!({ "keys": keys })).unwrap();
        KeySet::read(&document, before)
    }

    fn rsa(kid: &str, bytes: usize) -> Value {
        let n = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
        json!({"kty": "RSA", "kid": kid, "n": n, "e": "AQAB"})
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn only_keys_that_can_verify_are_read() {
        let key = rsa("a", 256);
        for valid in [
            key.clone(),
            with(key.clone(), "use", json!("sig")),
            with(key.clone(), "alg", json!("RS256")),
            with(key.clone(), "key_ops", json!(["verify"])),
            with(key.clone(), "x5c", json!(["ignored"])),
            with(key.clone(), "n", json!(URL_SAFE.encode([0xff; 256]))),
        ] {
            assert!(set(json!([valid]), None).is_some(), "{valid}");
        }
        let point = URL_SAFE_NO_PAD.encode([1; 32]);
        let ec = json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": point, "y": point});
        assert!(set(json!([ec]), None).is_some());
        for invalid in [
            rsa("a", 255),
            rsa("a", 1025),
            with(key.clone(), "kid", Value::Null),
            with(key.clone(), "use", json!("enc")),
            with(key.clone(), "alg", json!("PS256")),
            with(key.clone(), "alg", json!("HS256")),
            with(key.clone(), "key_ops", json!(["sign"])),
            with(key.clone(), "n", json!("=")),
            with(key.clone(), "n", json!("")),
            with(key, "kty", json!("oct")),
            with(ec.clone(), "crv", json!("P-384")),
            with(ec.clone(), "y", json!("AQ")),
            with(ec, "alg", json!("RS256")),
            json!("text"),
        ] {
            assert!(set(json!([invalid]), None).is_none(), "{invalid}");
        }
    }

    #[test]
    fn leading_zeros_do_not_count_as_key_bits() {
        let padded = [vec![0; 128], vec![0xff; 128]].concat();
        let weak = with(rsa("a", 256), "n", json!(URL_SAFE_NO_PAD.encode(padded)));
        assert!(set(json!([weak]), None).is_none());
    }

    #[test]
    fn only_a_removed_or_changed_key_increases_the_generation() {
        let first = set(json!([rsa("a", 256)]), None).unwrap();
        let added = set(json!([rsa("b", 256), rsa("a", 256)]), Some(&first)).unwrap();
        assert_eq!(added.generation, first.generation);
        let removed = set(json!([rsa("b", 256)]), Some(&added)).unwrap();
        assert_eq!(removed.generation, added.generation + 1);
        let changed = set(json!([rsa("b", 384)]), Some(&removed)).unwrap();
        assert_eq!(changed.generation, removed.generation + 1);
    }

    proptest! {
        #[test]
        fn no_numbers_cause_a_panic(n: Vec<u8>, e: Vec<u8>, x in "\\PC*") {
            let n = URL_SAFE_NO_PAD.encode(n);
            let e = URL_SAFE_NO_PAD.encode(e);
            let rsa = json!({"kty": "RSA", "kid": "a", "n": n, "e": e});
            let ec = json!({"kty": "EC", "kid": "a", "crv": "P-256", "x": x, "y": n});
            let _ = set(json!([rsa, ec]), None);
        }
    }
}
