//! What a verified token says: whether it is meant for us and for now, and whom it names.

use std::time::Duration;

use serde_json::{Map, Value};

use super::AuthError;
use bff_context::scope::Identity;

/// The claims of a token whose signature verified.
pub(super) struct Claims(pub(super) Map<String, Value>);

/// What a token must say.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
    /// By how many seconds clocks may differ.
    pub(super) leeway: u64,
}

/// The longest text taken from a token, in bytes.
const MAX_TEXT: usize = 128;
/// The most roles and the most scopes.
const MAX_WORDS: usize = 64;

const TEXT: &str = "a text of 1 to 128 visible ASCII characters";
const WORDS: &str = "at most 64 words of 1 to 128 visible ASCII characters";

impl Claims {
    /// Checks issuer, audience and times at `now` (RFC 7519 §4.1); returns `exp`.
    pub(super) fn check(&self, expected: &Expected, now: u64) -> Result<u64, AuthError> {
        if self.get("iss").and_then(Value::as_str) != Some(&expected.issuer) {
            return Err(AuthError::Issuer);
        }
        let ours = |aud: &Value| aud.as_str() == Some(&expected.audience);
        let named = match self.get("aud") {
            Some(Value::Array(list)) => list.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        };
        if !named {
            return Err(AuthError::Audience);
        }
        let leeway = expected.leeway;
        let expires = self.time("exp")?.ok_or(AuthError::NoClaim("exp"))?;
        if now >= expires.saturating_add(leeway) {
            return Err(AuthError::Expired(now - expires));
        }
        match self.time("nbf")? {
            Some(from) if from > now.saturating_add(leeway) => {
                return Err(AuthError::NotYet(from - now));
            }
            _ => {}
        }
        match self.time("iat")? {
            Some(issued) if issued > now.saturating_add(leeway) => {
                Err(AuthError::IssuedAhead(issued - now))
            }
            _ => Ok(expires),
        }
    }

    /// Whom the token names. A claim of the wrong type refuses the token: half an identity is none.
    pub(super) fn identity(&self) -> Result<Identity, AuthError> {
        let account = self.text("sub")?.ok_or(AuthError::NoClaim("sub"))?;
        Ok(Identity {
            account: account.to_owned(),
            profile: self.text("profile")?.map(str::to_owned),
            roles: self.roles()?,
            scopes: self.scopes()?,
            region: self.word("region")?,
            maturity: self.word("maturity")?,
            plan: self.word("plan")?,
            key_id: None,
        })
    }

    /// A claim; `null` is as good as absent.
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Seconds since 1970, perhaps with a fraction (RFC 7519 §2), which is dropped.
    fn time(&self, name: &'static str) -> Result<Option<u64>, AuthError> {
        let seconds = |value: &Value| {
            value.as_u64().or_else(|| {
                let whole = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
                Some(whole.as_secs())
            })
        };
        let wrong = AuthError::Claim(name, "a number of seconds since 1970");
        let value = self.get(name);
        value.map(|v| seconds(v).ok_or(wrong)).transpose()
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, AuthError> {
        let sane = |value: &Value| value.as_str().is_some_and(is_word);
        match self.get(name) {
            Some(value) if !sane(value) => Err(AuthError::Claim(name, TEXT)),
            value => Ok(value.and_then(Value::as_str)),
        }
    }

    /// A word of a closed list.
    fn word<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, AuthError> {
        let wrong = |_| AuthError::Claim(name, "1 to 16 letters, digits, `-` or `_`");
        let text = self.text(name)?;
        text.map(|text| text.parse().map_err(wrong)).transpose()
    }

    /// `roles`: a list, or one role as a text. They are sent on as a comma list, so none has a comma.
    fn roles(&self) -> Result<Vec<String>, AuthError> {
        let wrong = || AuthError::Claim("roles", WORDS);
        let roles: Vec<&str> = match self.get("roles") {
            None => return Ok(Vec::new()),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(list)) => list
                .iter()
                .map(|role| role.as_str().ok_or_else(wrong))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(wrong()),
        };
        let sane = roles
            .iter()
            .all(|role| is_word(role) && !role.contains(','));
        if roles.len() > MAX_WORDS || !sane {
            return Err(wrong());
        }
        Ok(roles.into_iter().map(str::to_owned).collect())
    }

    /// `scope`: a list in one text, divided by spaces (RFC 8693 §4.2).
    fn scopes(&self) -> Result<Vec<String>, AuthError> {
        let wrong = || AuthError::Claim("scope", WORDS);
        let Some(value) = self.get("scope") else {
            return Ok(Vec::new());
        };
        let list = value.as_str().ok_or_else(wrong)?;
        let scopes = || list.split(' ').filter(|scope| !scope.is_empty());
        if scopes().count() > MAX_WORDS || !scopes().all(is_word) {
            return Err(wrong());
        }
        Ok(scopes().map(str::to_owned).collect())
    }
}

fn is_word(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
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
    fn issuer_and_audience_are_ours_or_the_token_is_not() {
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
    fn times_are_kept_with_leeway() {
        assert_eq!(check(json!({}), 1029), Ok(1000));
        assert_eq!(check(json!({}), 1030), Err(AuthError::Expired(30)));
        assert_eq!(check(json!({"exp": 1000.9}), 1029), Ok(1000));
        assert_eq!(
            check(json!({"exp": null}), 0),
            Err(AuthError::NoClaim("exp"))
        );
        assert_eq!(check(json!({"nbf": 130}), 100), Ok(1000));
        assert_eq!(check(json!({"nbf": 131}), 100), Err(AuthError::NotYet(31)));
        assert_eq!(
            check(json!({"iat": 131}), 100),
            Err(AuthError::IssuedAhead(31))
        );
        for bad in [json!("1000"), json!(-1), json!(1e300), json!([1])] {
            let refused = check(json!({"exp": bad}), 0);
            assert!(matches!(refused, Err(AuthError::Claim("exp", _))), "{bad}");
        }
        assert_eq!(check(json!({"exp": u64::MAX}), 0), Ok(u64::MAX));
    }

    #[test]
    fn every_claim_finds_its_place() {
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
    }

    #[test]
    fn a_claim_of_the_wrong_type_or_size_refuses_the_token() {
        let missing = claims(json!({"sub": null})).identity().unwrap_err();
        assert_eq!(missing, AuthError::NoClaim("sub"));
        let (long, many) = ("x".repeat(129), "x ".repeat(65));
        for (name, bad) in [
            ("sub", json!(7)),
            ("sub", json!("")),
            ("sub", json!(long)),
            ("sub", json!("a b")),
            ("profile", json!(["kids"])),
            ("roles", json!([1])),
            ("roles", json!({"ADMIN": true})),
            ("roles", json!("a,b")),
            ("roles", json!(vec!["x"; 65])),
            ("roles", json!([long])),
            ("scope", json!(["read"])),
            ("scope", json!(many)),
            ("scope", json!("a\tb")),
            ("region", json!("DE AT")),
            ("maturity", json!(12)),
            ("plan", json!("a plan of more than 16")),
        ] {
            let refused = claims(json!({ name: bad })).identity().unwrap_err();
            assert!(
                matches!(refused, AuthError::Claim(n, _) if n == name),
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
