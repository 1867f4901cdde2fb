//! API keys, `bffp_<id>_<secret>`: the id says which, the secret proves it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::AuthError;
use super::config::ApiKey;
use bff_context::scope::{Caller, Identity};

/// What every key begins with, so that scanners of public code can find a leaked one.
const PREFIX: &[u8] = b"bffp_";
/// The role of every caller who comes with an API key.
const ROLE: &str = "partner";
/// The id of demo keys, and of those whose ids begin with it and a `-`. Development only.
pub const DEMO_ID: &str = "demo";
/// The secret of the demo key, which is public. Development only, under whatever id.
pub const DEMO_SECRET: &str = "only-for-this-machine";
/// The longest id and the longest secret that are looked at, in bytes.
const MAX_ID: usize = 32;
const MAX_SECRET: usize = 256;

/// The keys of one gateway.
#[derive(Debug)]
pub(super) struct ApiKeys(BTreeMap<Box<str>, Known>);

#[derive(Debug)]
struct Known {
    hash: [u8; 32],
    caller: Caller,
    disabled: bool,
}

/// SHA-256 of a key's secret as configuration wants it: 64 hexadecimal digits.
pub fn hash(secret: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(secret.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Whether a key is for demos: by its id, or because its secret is the demo key's.
pub fn is_demo(id: &str, key: &ApiKey) -> bool {
    let id = id.strip_prefix(DEMO_ID);
    let named = id.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    named || key.hash.expose().eq_ignore_ascii_case(&hash(DEMO_SECRET))
}

impl ApiKeys {
    /// The configured keys, or which of them is wrong.
    pub(super) fn new(configured: &BTreeMap<String, ApiKey>) -> Result<Arc<Self>, String> {
        let known = configured.iter().map(|(id, key)| {
            let known = Known::new(id, key).map_err(|why| format!("api_keys.{id}: {why}"))?;
            Ok((id.as_str().into(), known))
        });
        known
            .collect::<Result<_, String>>()
            .map(|k| Arc::new(Self(k)))
    }

    /// Whether API keys are off.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The caller who holds `sent`. An unknown id costs the work of a wrong secret, and the answer is the same.
    pub(super) fn verify(&self, sent: &[u8]) -> Result<Caller, AuthError> {
        let (id, secret) = split(sent).ok_or(AuthError::MalformedKey)?;
        let known = self.0.get(id);
        let expected = known.map_or(&[0; 32], |k| &k.hash);
        let exists = Choice::from(u8::from(known.is_some()));
        let proven: [u8; 32] = Sha256::digest(secret).into();
        let good = bool::from(proven.ct_eq(expected) & exists);
        match known {
            None => Err(AuthError::KeyUnknown(id.into())),
            Some(_) if !good => Err(AuthError::KeySecret(id.into())),
            Some(known) if known.disabled => Err(AuthError::KeyDisabled(id.into())),
            Some(known) => Ok(known.caller.clone()),
        }
    }
}

impl Known {
    fn new(id: &str, key: &ApiKey) -> Result<Self, &'static str> {
        if !is_id(id.as_bytes()) {
            return Err("an id is 1 to 32 of a-z 0-9 -");
        }
        Ok(Self {
            hash: from_hex(key.hash.expose()).ok_or("hash is 64 hexadecimal digits")?,
            caller: Caller::new(identity(id, key)?)?,
            disabled: key.disabled,
        })
    }
}

fn identity(id: &str, key: &ApiKey) -> Result<Identity, &'static str> {
    let plan = key.plan.as_deref().map(str::parse).transpose();
    Ok(Identity {
        account: key.account.clone(),
        roles: vec![ROLE.to_owned()],
        scopes: key.scopes.clone(),
        plan: plan.map_err(|_| "plan is 1 to 16 letters, digits, `-` or `_`")?,
        key_id: Some(id.to_owned()),
        ..Identity::default()
    })
}

/// Id and secret. An id has no underscore, so a secret may.
fn split(sent: &[u8]) -> Option<(&str, &[u8])> {
    let rest = sent.strip_prefix(PREFIX)?;
    let end = rest.iter().take(MAX_ID + 1).position(|b| *b == b'_')?;
    let (id, secret) = (rest.get(..end)?, rest.get(end + 1..)?);
    let sane = (1..=MAX_SECRET).contains(&secret.len()) && secret.iter().all(u8::is_ascii_graphic);
    if !sane || !is_id(id) {
        return None;
    }
    Some((std::str::from_utf8(id).ok()?, secret))
}

/// Configuration keys are lower case, so ids are.
fn is_id(id: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    (1..=MAX_ID).contains(&id.len()) && id.iter().all(plain)
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bff_config::Secret;
    use proptest::prelude::*;

    fn key(secret: &str, disabled: bool) -> ApiKey {
        ApiKey {
            hash: Secret::new(hash(secret)),
            account: "acme".into(),
            plan: Some("gold".into()),
            scopes: vec!["catalogue:read".into()],
            disabled,
        }
    }

    fn keys() -> Arc<ApiKeys> {
        let configured = [
            ("old", key("first_secret", false)),
            ("new", key("second", false)),
            ("off", key("third", true)),
        ];
        let configured = configured.map(|(id, key)| (id.to_owned(), key));
        ApiKeys::new(&configured.into_iter().collect()).unwrap()
    }

    #[test]
    fn several_keys_prove_one_account() {
        let keys = keys();
        for good in ["bffp_old_first_secret", "bffp_new_second"] {
            let caller = keys.verify(good.as_bytes()).unwrap();
            assert_eq!(bff_context::trusted::account(&caller), "acme");
            assert_eq!(caller.plan().unwrap().as_str(), "gold");
            assert!(caller.has_role("partner") && caller.has_scope("catalogue:read"));
        }
        let identity = identity("old", &key("x", false)).unwrap();
        assert_eq!(identity.key_id.as_deref(), Some("old"));
    }

    #[test]
    fn every_wrong_key_is_refused_for_its_reason() {
        let keys = keys();
        let refused = |sent: &str| keys.verify(sent.as_bytes()).unwrap_err();
        assert_eq!(
            refused("bffp_old_second"),
            AuthError::KeySecret("old".into())
        );
        assert_eq!(
            refused("bffp_no_second"),
            AuthError::KeyUnknown("no".into())
        );
        assert_eq!(
            refused("bffp_off_third"),
            AuthError::KeyDisabled("off".into())
        );
        assert_eq!(refused("bffp_off_x"), AuthError::KeySecret("off".into()));
        let long = format!("bffp_old_{}", "x".repeat(257));
        for bad in [
            "",
            "bffp_",
            "bffp_old",
            "bffp_old_",
            "bffp__x",
            "bffq_old_x",
            "bffp_OLD_x",
            &long,
        ] {
            assert_eq!(refused(bad), AuthError::MalformedKey, "{bad}");
        }
    }

    #[test]
    fn the_hash_is_sha_256() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash("abc"), known);
        assert_eq!(from_hex(known).unwrap()[..2], [0xba, 0x78]);
        assert_eq!(from_hex(&"é".repeat(32)), None);
    }

    #[test]
    fn a_wrong_key_of_the_configuration_is_named() {
        let broken = |id: &str, edit: fn(&mut ApiKey)| {
            let mut key = key("x", false);
            edit(&mut key);
            ApiKeys::new(&BTreeMap::from([(id.to_owned(), key)])).unwrap_err()
        };
        let line = broken("a", |k| k.hash = Secret::new("abc"));
        assert_eq!(line, "api_keys.a: hash is 64 hexadecimal digits");
        assert!(broken("a_b", |_| ()).starts_with("api_keys.a_b: an id is"));
        assert!(broken("a", |k| k.plan = Some("a b".into())).starts_with("api_keys.a: plan is"));
        assert!(broken("a", |k| k.account = "..".into()).contains("an account is"));
    }

    proptest! {
        #[test]
        fn no_key_panics(sent: Vec<u8>, tail: Vec<u8>) {
            let keys = keys();
            let _ = keys.verify(&sent);
            let _ = keys.verify(&[b"bffp_old_", &tail[..]].concat());
        }
    }
}
