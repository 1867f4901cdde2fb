//! A key document as the issuer publishes it (RFC 7517), and what of it may verify a token.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A signature algorithm (RFC 7518 §3.1). The list is closed: no `none`, nothing symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
}

/// The document. Keys are read one by one, because one that we cannot read must not hide the others (§5).
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    keys: Vec<Value>,
}

/// One entry of the document. What it does not name (`x5c` and the like) is deliberately not trusted.
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

/// A public key that may verify tokens.
#[derive(Debug)]
pub struct Key {
    kid: Box<str>,
    algorithm: Algorithm,
    decoding: DecodingKey,
    /// Its numbers, to tell whether a key id still means the same key.
    numbers: [Vec<u8>; 2],
}

/// The keys of one document.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
    /// Grows whenever a key went away, so that what it verified is forgotten.
    pub(super) generation: u64,
}

/// The most keys of a document that are read: issuers publish two or three.
const MAX_KEYS: usize = 64;
/// RSA moduli below 2048 bits are refused (RFC 7518 §3.3), above 8192 the crypto library refuses.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

impl KeySet {
    /// The usable keys of `document`, or none; `before` is what it replaces.
    pub(super) fn read(document: &Document, before: Option<&Self>) -> Option<Self> {
        let keys: Vec<Arc<Key>> = document
            .keys
            .iter()
            .take(MAX_KEYS)
            .filter_map(|value| Jwk::deserialize(value).ok()?.key())
            .map(Arc::new)
            .collect();
        let generation = before.map_or(0, |before| {
            let kept = |old: &Arc<Key>| keys.iter().any(|new| new.is_same(old));
            before.generation + u64::from(!before.keys.iter().all(kept))
        });
        (!keys.is_empty()).then_some(Self { keys, generation })
    }

    /// The key called `kid`. Two types of key may share a name (§4.5), so one that fits `algorithm` comes first.
    pub(super) fn find(&self, kid: &str, algorithm: Algorithm) -> Option<&Arc<Key>> {
        let named = || self.keys.iter().filter(|key| &*key.kid == kid);
        named()
            .find(|key| key.algorithm == algorithm)
            .or_else(|| named().next())
    }
}

impl Key {
    /// The one algorithm it verifies. The key decides, never the token (RFC 8725 §3.1).
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key as the crypto library wants it.
    pub fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    fn is_same(&self, other: &Self) -> bool {
        self.kid == other.kid && self.algorithm == other.algorithm && self.numbers == other.numbers
    }
}

impl Jwk {
    /// The key, if it is one that may verify: for signatures, of a known type, strong enough, and named.
    fn key(&self) -> Option<Key> {
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        let for_signatures = self.purpose.as_deref().is_none_or(|p| p == "sig")
            && self.key_ops.as_ref().is_none_or(verifies);
        let kid = self.kid.as_deref().filter(|_| for_signatures)?;
        let is = |alg: &str| self.alg.as_deref().is_none_or(|a| a == alg);
        let (algorithm, decoding, numbers) = match self.kty.as_str() {
            "RSA" if is("RS256") => self.rsa()?,
            "EC" if is("ES256") && self.crv.as_deref() == Some("P-256") => self.p256()?,
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
        let (n, e) = (number(self.n.as_ref())?, number(self.e.as_ref())?);
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
        let (x, y) = (number(self.x.as_ref())?, number(self.y.as_ref())?);
        // Coordinates have their full length (RFC 7518 §6.2.1.2); whether the point is on the curve is checked by
        // the crypto library when it verifies.
        if x.len() != 32 || y.len() != 32 {
            return None;
        }
        let key = DecodingKey::from_ec_der(&[&[4], &x[..], &y[..]].concat());
        Some((Algorithm::ES256, key, [x, y]))
    }
}

fn number(text: Option<&String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn only_keys_that_may_verify_are_read() {
        let good = rsa("a", 256);
        for fine in [
            good.clone(),
            with(good.clone(), "use", json!("sig")),
            with(good.clone(), "alg", json!("RS256")),
            with(good.clone(), "key_ops", json!(["verify"])),
            with(good.clone(), "x5c", json!(["ignored"])),
        ] {
            assert!(set(json!([fine]), None).is_some(), "{fine}");
        }
        let point = URL_SAFE_NO_PAD.encode([1; 32]);
        let ec = json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": point, "y": point});
        assert!(set(json!([ec]), None).is_some());
        for bad in [
            rsa("a", 255),
            rsa("a", 1025),
            with(good.clone(), "kid", Value::Null),
            with(good.clone(), "use", json!("enc")),
            with(good.clone(), "alg", json!("PS256")),
            with(good.clone(), "alg", json!("HS256")),
            with(good.clone(), "key_ops", json!(["sign"])),
            with(good.clone(), "n", json!("=")),
            with(good.clone(), "n", json!("")),
            with(good, "kty", json!("oct")),
            with(ec.clone(), "crv", json!("P-384")),
            with(ec.clone(), "y", json!("AQ")),
            with(ec, "alg", json!("RS256")),
            json!("text"),
        ] {
            assert!(set(json!([bad]), None).is_none(), "{bad}");
        }
    }

    #[test]
    fn leading_zeros_make_no_key_stronger() {
        let padded = [vec![0; 128], vec![0xff; 128]].concat();
        let weak = with(rsa("a", 256), "n", json!(URL_SAFE_NO_PAD.encode(padded)));
        assert!(set(json!([weak]), None).is_none());
    }

    #[test]
    fn only_a_key_that_went_away_or_changed_begins_a_generation() {
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
        fn no_numbers_panic(n: Vec<u8>, e: Vec<u8>, x in "\\PC*") {
            let n = URL_SAFE_NO_PAD.encode(n);
            let e = URL_SAFE_NO_PAD.encode(e);
            let rsa = json!({"kty": "RSA", "kid": "a", "n": n, "e": e});
            let ec = json!({"kty": "EC", "kid": "a", "crv": "P-256", "x": x, "y": n});
            let _ = set(json!([rsa, ec]), None);
        }
    }
}
