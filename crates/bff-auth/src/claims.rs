//! The claims of a verified token: issuer, audience, times and identity.

use std::time::Duration;

use serde_json::{Map, Value};

use super::AuthError;
use bff_context::scope::Identity;

/// The claims of a token with a verified signature.
pub(super) struct Claims(pub(super) Map<String, Value>);

/// The values that a token must have.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
    /// Maximum difference of the clocks, in seconds.
    pub(super) leeway: u64,
}

/// Maximum length of `sub`, in bytes (OpenID Connect Core §2).
const MAX_SUB: usize = 255;
/// Maximum length of any other text, in bytes.
const MAX_TEXT: usize = 128;
/// Maximum number of roles, and of scopes.
const MAX_WORDS: usize = 64;

const SUB: &str = "a text of 1 to 255 visible ASCII characters";
const TEXT: &str = "a text of 1 to 128 visible ASCII characters";
const WORDS: &str = "at most 64 words of 1 to 128 visible ASCII characters";

impl Claims {
    /// Checks issuer, audience and times at `now` (RFC 7519 §4.1); returns `exp`.
    pub(super) fn check(&self, expected: &Expected, now: u64) -> Result<u64, AuthError> {
        if self.get("iss").and_then(Value::as_str) != Some(&expected.issuer) {
            return Err(AuthError::Issuer);
        }
        let matches = |aud: &Value| aud.as_str() == Some(&expected.audience);
        let has_audience = match self.get("aud") {
            Some(Value::Array(list)) => list.iter().any(matches),
            Some(one) => matches(one),
            None => false,
        };
        if !has_audience {
            return Err(AuthError::Audience);
        }
        let leeway = expected.leeway;
        let expires = self.time("exp")?.ok_or(AuthError::MissingClaim("exp"))?;
        if now >= expires.saturating_add(leeway) {
            return Err(AuthError::Expired(now - expires));
        }
        match self.time("nbf")? {
            Some(not_before) if not_before > now.saturating_add(leeway) => {
                return Err(AuthError::NotYetValid(not_before - now));
            }
            _ => {}
        }
        match self.time("iat")? {
            Some(issued) if issued > now.saturating_add(leeway) => {
                Err(AuthError::IssuedInFuture(issued - now))
            }
            _ => Ok(expires),
        }
    }

    /// The identity in the token. A claim of the wrong type is an error: the identity would be incomplete.
    pub(super) fn identity(&self) -> Result<Identity, AuthError> {
        let account = self.get("sub").ok_or(AuthError::MissingClaim("sub"))?;
        let account = account.as_str().filter(|text| is_text(text, MAX_SUB));
        let account = account.ok_or(AuthError::InvalidClaim("sub", SUB))?;
        Ok(Identity {
            account: account.to_owned(),
            profile: self.text("profile")?.map(str::to_owned),
            roles: self.roles()?,
            scopes: self.scopes()?,
            region: self.parse("region")?,
            maturity: self.parse("maturity")?,
            plan: self.parse("plan")?,
            key_id: None,
        })
    }

    /// A claim; `null` counts as absent.
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Seconds since 1970. A fraction (RFC 7519 §2) is dropped.
    fn time(&self, name: &'static str) -> Result<Option<u64>, AuthError> {
        let seconds = |value: &Value| {
            value.as_u64().or_else(|| {
                let whole = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
                Some(whole.as_secs())
            })
        };
        let invalid = AuthError::InvalidClaim(name, "a number of seconds since 1970");
        let value = self.get(name);
        value.map(|v| seconds(v).ok_or(invalid)).transpose()
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, AuthError> {
        let is_valid = |value: &Value| value.as_str().is_some_and(is_word);
        match self.get(name) {
            Some(value) if !is_valid(value) => Err(AuthError::InvalidClaim(name, TEXT)),
            value => Ok(value.and_then(Value::as_str)),
        }
    }

    /// A claim that is parsed into its own type.
    fn parse<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, AuthError> {
        let invalid = |_| AuthError::InvalidClaim(name, "1 to 16 letters, digits, `-` or `_`");
        let text = self.text(name)?;
        text.map(|text| text.parse().map_err(invalid)).transpose()
    }

    /// The claim `roles`: an array, or one role as a string. Backends get a comma-separated list, so a role has no
    /// comma.
    fn roles(&self) -> Result<Vec<String>, AuthError> {
        let invalid = || AuthError::InvalidClaim("roles", WORDS);
        let roles: Vec<&str> = match self.get("roles") {
            None => return Ok(Vec::new()),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(list)) => list
                .iter()
                .map(|role| role.as_str().ok_or_else(invalid))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(invalid()),
        };
        let is_valid = roles
            .iter()
            .all(|role| is_word(role) && !role.contains(','));
        if roles.len() > MAX_WORDS || !is_valid {
            return Err(invalid());
        }
        Ok(roles.into_iter().map(str::to_owned).collect())
    }

    /// The claim `scope`: scopes separated by spaces (RFC 8693 §4.2). Some issuers send an array.
    fn scopes(&self) -> Result<Vec<String>, AuthError> {
        let invalid = || AuthError::InvalidClaim("scope", WORDS);
        let Some(value) = self.get("scope") else {
            return Ok(Vec::new());
        };
        let scopes: Vec<&str> = match value {
            Value::String(list) => list.split(' ').filter(|s| !s.is_empty()).collect(),
            Value::Array(list) => {
                let texts = list.iter().map(|scope| scope.as_str().ok_or_else(invalid));
                texts.collect::<Result<_, _>>()?
            }
            _ => return Err(invalid()),
        };
        if scopes.len() > MAX_WORDS || !scopes.iter().all(|scope| is_word(scope)) {
            return Err(invalid());
        }
        Ok(scopes.into_iter().map(str::to_owned).collect())
    }
}

fn is_word(text: &str) -> bool {
    is_text(text, MAX_TEXT)
}

fn is_text(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn claims(edit: Value) -> Claims {
        let mut claims = json!({"iss": "i", "aud": "a", "exp": 1000, "sub": "ada"});
        for (name, value) in edit.as_object().unwrap() {
            claims[name] = value.clone();
        }
        Claims(claims.as_object().unwrap().clone())
    }

    fn check(edit: Value, now: u64) -> Result<u64, AuthError> {
        let expected = Expected {
            issuer: "i".into(),
            audience: "a".into(),
            leeway: 30,
        };
        claims(edit).check(&expected, now)
    }

    #[test]
    fn issuer_and_audience_must_match() {
        assert_eq!(check(json!({}), 0), Ok(1000));
        assert_eq!(check(json!({"aud": ["x", "a"]}), 0), Ok(1000));
        for iss in [json!("i/"), json!("I"), json!(["i"]), Value::Null] {
            assert_eq!(check(json!({"iss": iss}), 0), Err(AuthError::Issuer));
        }
        for aud in [json!("ab"), json!([]), json!({"a": "a"}), Value::Null] {
            assert_eq!(check(json!({"aud": aud}), 0), Err(AuthError::Audience));
        }
    }

    #[test]
    fn times_are_checked_with_leeway() {
        assert_eq!(check(json!({}), 1029), Ok(1000));
        assert_eq!(check(json!({}), 1030), Err(AuthError::Expired(30)));
        assert_eq!(check(json!({"exp": 1000.9}), 1029), Ok(1000));
        assert_eq!(
            check(json!({"exp": null}), 0),
            Err(AuthError::MissingClaim("exp"))
        );
        assert_eq!(check(json!({"nbf": 130}), 100), Ok(1000));
        assert_eq!(
            check(json!({"nbf": 131}), 100),
            Err(AuthError::NotYetValid(31))
        );
        assert_eq!(
            check(json!({"iat": 131}), 100),
            Err(AuthError::IssuedInFuture(31))
        );
        for invalid in [json!("1000"), json!(-1), json!(1e300), json!([1])] {
            let result = check(json!({"exp": invalid}), 0);
            assert!(
                matches!(result, Err(AuthError::InvalidClaim("exp", _))),
                "{invalid}"
            );
        }
        assert_eq!(check(json!({"exp": u64::MAX}), 0), Ok(u64::MAX));
    }

    #[test]
    fn every_claim_is_read_into_the_identity() {
        let identity = claims(json!({
            "profile": "kids", "roles": ["ADMIN", "customer"], "scope": "read  write",
            "region": "DE", "maturity": "12", "plan": "gold",
        }));
        let identity = identity.identity().unwrap();
        assert_eq!(identity.account, "ada");
        assert_eq!(identity.profile.as_deref(), Some("kids"));
        assert_eq!(identity.roles, ["ADMIN", "customer"]);
        assert_eq!(identity.scopes, ["read", "write"]);
        assert_eq!(identity.region.unwrap().as_str(), "DE");
        assert_eq!(identity.maturity.unwrap().as_str(), "12");
        assert_eq!(identity.plan.unwrap().as_str(), "gold");
        let one = claims(json!({"roles": "ADMIN", "plan": null}))
            .identity()
            .unwrap();
        assert_eq!(one.roles, ["ADMIN"]);
        assert!(one.plan.is_none());
        let longest = "x".repeat(255);
        let identity = claims(json!({"sub": longest, "scope": ["read", "write"]})).identity();
        let identity = identity.unwrap();
        assert_eq!((identity.account, identity.scopes.len()), (longest, 2));
    }

    #[test]
    fn a_claim_of_the_wrong_type_or_size_is_an_error() {
        let missing = claims(json!({"sub": null})).identity().unwrap_err();
        assert_eq!(missing, AuthError::MissingClaim("sub"));
        let (long, many) = ("x".repeat(129), "x ".repeat(65));
        for (name, invalid) in [
            ("sub", json!(7)),
            ("sub", json!("")),
            ("sub", json!("x".repeat(256))),
            ("sub", json!("a b")),
            ("profile", json!(["kids"])),
            ("roles", json!([1])),
            ("roles", json!({"ADMIN": true})),
            ("roles", json!("a,b")),
            ("roles", json!(vec!["x"; 65])),
            ("roles", json!([long])),
            ("scope", json!([7])),
            ("scope", json!(["a b"])),
            ("scope", json!(many)),
            ("scope", json!("a\tb")),
            ("region", json!("DE AT")),
            ("maturity", json!(12)),
            ("plan", json!("a plan of more than 16")),
        ] {
            let result = claims(json!({ name: invalid })).identity().unwrap_err();
            assert!(
                matches!(result, AuthError::InvalidClaim(n, _) if n == name),
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_claims_panic(text in "\\PC*", number: f64, list: Vec<String>, now: u64) {
            for name in ["iss", "aud", "exp", "nbf", "iat", "sub", "roles", "scope", "plan"] {
                for value in [json!(text), json!(number), json!(list)] {
                    let edit = json!({ name: value });
                    let _ = check(edit.clone(), now);
                    let _ = claims(edit).identity();
                }
            }
        }
    }
}
