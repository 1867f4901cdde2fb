//! API keys have the form `bffp_<id>_<secret>`. The id selects the key, the secret proves its possession.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::AuthError;
use super::config::ApiKey;
use bff_context::scope::{Caller, Identity};

/// The prefix of every key, so that secret scanners can find leaked keys.
const PREFIX: &[u8] = b"bffp_";
/// The role of every caller with an API key.
const ROLE: &str = "partner";
/// The id of demo keys; ids that start with `demo-` are demo keys too. Only development accepts them.
pub const DEMO_ID: &str = "demo";
/// The public secret of the demo key. Only development accepts it, with any id.
pub const DEMO_SECRET: &str = "only-for-this-machine";
/// Maximum lengths of the id and the secret, in bytes.
const MAX_ID: usize = 32;
const MAX_SECRET: usize = 256;

/// The keys of one gateway.
#[derive(Debug)]
pub(super) struct ApiKeys(BTreeMap<Box<str>, RegisteredKey>);

#[derive(Debug)]
struct RegisteredKey {
    hash: [u8; 32],
    caller: Caller,
    disabled: bool,
}

/// SHA-256 of a key's secret, as 64 hexadecimal digits for the configuration.
pub fn hash(secret: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(secret.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Whether a key is a demo key, by its id or by its secret.
pub fn is_demo(id: &str, key: &ApiKey) -> bool {
    let rest = id.strip_prefix(DEMO_ID);
    let has_demo_id = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    has_demo_id || key.hash.expose().eq_ignore_ascii_case(&hash(DEMO_SECRET))
}

impl ApiKeys {
    /// The configured keys. The error is one line with the invalid key.
    pub(super) fn new(configured: &BTreeMap<String, ApiKey>) -> Result<Arc<Self>, String> {
        let keys = configured.iter().map(|(id, key)| {
            let key =
                RegisteredKey::new(id, key).map_err(|reason| format!("api_keys.{id}: {reason}"))?;
            Ok((id.as_str().into(), key))
        });
        keys.collect::<Result<_, String>>()
            .map(|keys| Arc::new(Self(keys)))
    }

    /// Whether API keys are disabled.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The caller of an API key. An unknown id takes the same time and gets the same response as a wrong secret.
    pub(super) fn verify(&self, api_key: &[u8]) -> Result<Caller, AuthError> {
        let (id, secret) = split(api_key).ok_or(AuthError::MalformedApiKey)?;
        let registered = self.0.get(id);
        let expected = registered.map_or(&[0; 32], |key| &key.hash);
        let exists = Choice::from(u8::from(registered.is_some()));
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let is_valid = bool::from(hash.ct_eq(expected) & exists);
        match registered {
            None => Err(AuthError::UnknownApiKey(id.into())),
            Some(_) if !is_valid => Err(AuthError::WrongApiKeySecret(id.into())),
            Some(key) if key.disabled => Err(AuthError::DisabledApiKey(id.into())),
            Some(key) => Ok(key.caller.clone()),
        }
    }
}

impl RegisteredKey {
    fn new(id: &str, key: &ApiKey) -> Result<Self, &'static str> {
        if !is_id(id.as_bytes()) {
            return Err("the id must have 1 to 32 characters of a-z 0-9 -");
        }
        Ok(Self {
            hash: from_hex(key.hash.expose()).ok_or("hash must have 64 hexadecimal digits")?,
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
        plan: plan.map_err(|_| "plan must have 1 to 16 letters, digits, `-` or `_`")?,
        key_id: Some(id.to_owned()),
        ..Identity::default()
    })
}

/// The id and the secret. An id has no underscore; a secret can have some.
fn split(api_key: &[u8]) -> Option<(&str, &[u8])> {
    let rest = api_key.strip_prefix(PREFIX)?;
    let end = rest.iter().take(MAX_ID + 1).position(|b| *b == b'_')?;
    let (id, secret) = (rest.get(..end)?, rest.get(end + 1..)?);
    let is_secret =
        (1..=MAX_SECRET).contains(&secret.len()) && secret.iter().all(u8::is_ascii_graphic);
    if !is_secret || !is_id(id) {
        return None;
    }
    Some((std::str::from_utf8(id).ok()?, secret))
}

/// Ids are lower case, like all configuration keys.
fn is_id(id: &[u8]) -> bool {
    let is_allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    (1..=MAX_ID).contains(&id.len()) && id.iter().all(is_allowed)
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
    fn an_account_can_have_several_keys() {
        let keys = keys();
        for valid in ["bffp_old_first_secret", "bffp_new_second"] {
            let caller = keys.verify(valid.as_bytes()).unwrap();
            assert_eq!(bff_context::trusted::account(&caller), "acme");
            assert_eq!(caller.plan().unwrap().as_str(), "gold");
            assert!(caller.has_role("partner") && caller.has_scope("catalogue:read"));
        }
        let identity = identity("old", &key("x", false)).unwrap();
        assert_eq!(identity.key_id.as_deref(), Some("old"));
    }

    #[test]
    fn every_invalid_key_is_rejected_with_its_reason() {
        let keys = keys();
        let reason = |api_key: &str| keys.verify(api_key.as_bytes()).unwrap_err();
        assert_eq!(
            reason("bffp_old_second"),
            AuthError::WrongApiKeySecret("old".into())
        );
        assert_eq!(
            reason("bffp_no_second"),
            AuthError::UnknownApiKey("no".into())
        );
        assert_eq!(
            reason("bffp_off_third"),
            AuthError::DisabledApiKey("off".into())
        );
        assert_eq!(
            reason("bffp_off_x"),
            AuthError::WrongApiKeySecret("off".into())
        );
        let long = format!("bffp_old_{}", "x".repeat(257));
        for malformed in [
            "",
            "bffp_",
            "bffp_old",
            "bffp_old_",
            "bffp__x",
            "bffq_old_x",
            "bffp_OLD_x",
            &long,
        ] {
            assert_eq!(reason(malformed), AuthError::MalformedApiKey, "{malformed}");
        }
    }

    #[test]
    fn the_hash_is_sha_256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash("abc"), expected);
        assert_eq!(from_hex(expected).unwrap()[..2], [0xba, 0x78]);
        assert_eq!(from_hex(&"é".repeat(32)), None);
    }

    #[test]
    fn the_error_names_the_invalid_key_of_the_configuration() {
        let error = |id: &str, edit: fn(&mut ApiKey)| {
            let mut key = key("x", false);
            edit(&mut key);
            ApiKeys::new(&BTreeMap::from([(id.to_owned(), key)])).unwrap_err()
        };
        let line = error("a", |k| k.hash = Secret::new("abc"));
        assert_eq!(line, "api_keys.a: hash must have 64 hexadecimal digits");
        assert!(error("a_b", |_| ()).starts_with("api_keys.a_b: the id must have"));
        assert!(
            error("a", |k| k.plan = Some("a b".into())).starts_with("api_keys.a: plan must have")
        );
        assert!(error("a", |k| k.account = "..".into()).contains("an account must be"));
    }

    proptest! {
        #[test]
        fn no_key_panics(api_key: Vec<u8>, tail: Vec<u8>) {
            let keys = keys();
            let _ = keys.verify(&api_key);
            let _ = keys.verify(&[b"bffp_old_", &tail[..]].concat());
        }
    }
}
