//! Whom the gateway says it calls for: the identity headers that the personal backends trust.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::response::Problem;

/// `X-User-Id` and `X-User-Role`, as a backend behind the gateway reads them; 401 without the first.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) id: String,
    admin: bool,
}

impl Caller {
    /// 403 unless the caller is this user or an administrator.
    pub(crate) fn may_read(&self, user: &str) -> Result<(), Problem> {
        if self.admin || self.id == user {
            return Ok(());
        }
        Err(Problem::forbidden("another user's data"))
    }

    /// 403 unless the caller is an administrator.
    pub(crate) fn must_be_admin(&self) -> Result<(), Problem> {
        if self.admin {
            Ok(())
        } else {
            Err(Problem::forbidden("needs role ADMIN"))
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = |name| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let id = text("x-user-id").map(str::trim).filter(|id| !id.is_empty());
        let id = id
            .ok_or_else(|| Problem::unauthenticated("X-User-Id is missing"))?
            .to_owned();
        let roles = text("x-user-role").unwrap_or_default();
        let admin = roles.split([',', ' ']).any(|role| role == "ADMIN");
        Ok(Self { id, admin })
    }
}
