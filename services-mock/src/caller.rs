//! The caller of a personal backend, from the identity headers of the gateway.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::response::Problem;

/// The values of `X-User-Id` and `X-User-Role`. Without `X-User-Id` the extractor responds with 401.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) id: String,
    admin: bool,
}

impl Caller {
    /// Fails with 403 unless the caller is this user or an administrator.
    pub(crate) fn authorize_read(&self, user: &str) -> Result<(), Problem> {
        if self.admin || self.id == user {
            return Ok(());
        }
        Err(Problem::forbidden("this is another user's data"))
    }

    /// Fails with 403 unless the caller is an administrator.
    pub(crate) fn require_admin(&self) -> Result<(), Problem> {
        if self.admin {
            Ok(())
        } else {
            Err(Problem::forbidden("the role ADMIN is required"))
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
