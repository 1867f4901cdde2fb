//! The verified caller: account and profile. Other crates cannot read them as text.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::HeaderValue;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::label::{Label, Region};

/// A verified caller. Cheap to clone.
#[derive(Clone)]
pub struct Caller(Arc<CallerData>);

/// The content of a verified credential.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The account: 1 to 128 visible ASCII characters.
    pub account: String,
    /// The profile within the account, if there are several.
    pub profile: Option<String>,
    /// Roles, such as `ADMIN`.
    pub roles: Vec<String>,
    /// OAuth scopes, or the permissions of an API key.
    pub scopes: Vec<String>,
    /// The account's market.
    pub region: Option<Region>,
    /// The highest maturity level the profile may see.
    pub maturity: Option<Label>,
    /// The plan the account is on.
    pub plan: Option<Label>,
    /// The id of the API key, for the audit log. One account may have several keys.
    pub key_id: Option<String>,
}

struct CallerData {
    identity: Identity,
    /// Built once per credential, not once per call.
    id_header: HeaderValue,
    role_header: HeaderValue,
    path_segment: String,
}

impl Caller {
    /// A caller. Fails if the account or a role cannot be sent to a backend safely.
    pub fn new(identity: Identity) -> Result<Self, &'static str> {
        let account = &identity.account;
        let is_valid = (1..=128).contains(&account.len())
            && account.bytes().all(|b| b.is_ascii_graphic())
            && account.bytes().any(|b| b != b'.');
        if !is_valid {
            return Err("an account must be 1 to 128 visible ASCII characters");
        }
        let header = |text: &str| HeaderValue::from_str(text);
        let invalid_role = "a role must be visible ASCII without a comma";
        if identity.roles.iter().any(|r| r.contains(',')) {
            return Err(invalid_role);
        }
        Ok(Self(Arc::new(CallerData {
            id_header: header(account).map_err(|_| "an account must be a valid header value")?,
            role_header: header(&identity.roles.join(",")).map_err(|_| invalid_role)?,
            path_segment: utf8_percent_encode(account, NON_ALPHANUMERIC).to_string(),
            identity,
        })))
    }

    /// Whether the caller has the role.
    pub fn has_role(&self, role: &str) -> bool {
        self.0.identity.roles.iter().any(|r| r == role)
    }

    /// Whether the credential allows the scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0.identity.scopes.iter().any(|s| s == scope)
    }

    /// The account's market, if the credential has it.
    pub fn region(&self) -> Option<Region> {
        self.0.identity.region
    }

    /// The highest maturity level the profile may see, if the credential has it.
    pub fn maturity(&self) -> Option<Label> {
        self.0.identity.maturity
    }

    /// The plan of the account, if the credential has it.
    pub fn plan(&self) -> Option<Label> {
        self.0.identity.plan
    }

    /// The plan as text.
    pub fn plan_name(&self) -> Option<&str> {
        self.0.identity.plan.as_ref().map(Label::as_str)
    }

    /// The id of the API key.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.0.identity.key_id.as_deref()
    }

    pub(crate) fn account(&self) -> &str {
        &self.0.identity.account
    }

    /// Account and profile, the owner of the caller's writes. The profile is empty if the caller has none.
    pub(crate) fn account_and_profile(&self) -> (&str, &str) {
        let profile = self.0.identity.profile.as_deref();
        (&self.0.identity.account, profile.unwrap_or_default())
    }

    pub(super) fn principal(&self) -> Principal {
        Principal(self.0.clone())
    }

    pub(crate) fn path_segment(&self) -> &str {
        &self.0.path_segment
    }

    pub(crate) fn id_header(&self) -> HeaderValue {
        self.0.id_header.clone()
    }

    pub(crate) fn role_header(&self) -> HeaderValue {
        self.0.role_header.clone()
    }
}

/// The identity of a caller in cache keys: account, profile, and the roles that backends see.
#[derive(Clone)]
pub(super) struct Principal(Arc<CallerData>);

impl Principal {
    fn parts(&self) -> (&str, Option<&str>, &HeaderValue) {
        let CallerData {
            identity,
            role_header,
            ..
        } = &*self.0;
        (&identity.account, identity.profile.as_deref(), role_header)
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.parts() == other.parts()
    }
}

impl Eq for Principal {}

impl Hash for Principal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(account: &str) -> Result<Caller, &'static str> {
        Caller::new(Identity {
            account: account.into(),
            roles: vec!["customer".into(), "ADMIN".into()],
            ..Identity::default()
        })
    }

    #[test]
    fn an_account_that_could_escape_a_path_is_refused() {
        for invalid in ["", ".", "..", "a b", "a\r\nb", "ü"] {
            assert!(caller(invalid).is_err(), "{invalid:?}");
        }
        assert_eq!(caller("a/../b").unwrap().path_segment(), "a%2F%2E%2E%2Fb");
    }

    #[test]
    fn several_roles_are_a_comma_list() {
        let ada = caller("ada").unwrap();
        assert_eq!(ada.role_header(), "customer,ADMIN");
        assert!(ada.has_role("ADMIN") && !ada.has_role("admin"));
    }
}
