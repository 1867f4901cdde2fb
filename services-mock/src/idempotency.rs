//! `Idempotency-Key`: a retry with the same key and body gets the stored response; another body gets 422.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use xxhash_rust::xxh3::xxh3_128;

use crate::response::{Problem, private_bytes};

/// The key of a write. An invalid key is rejected with 400.
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

/// The stored responses, by caller and key.
#[derive(Debug, Default)]
pub(crate) struct StoredResponses(BTreeMap<(String, String), StoredResponse>);

#[derive(Debug)]
struct StoredResponse {
    body: u128,
    status: StatusCode,
    response: Bytes,
}

impl IdempotencyKey {
    /// Returns the key, or fails with 400.
    pub(crate) fn required(self) -> Result<String, Problem> {
        self.0
            .ok_or_else(|| Problem::bad_request("Idempotency-Key is missing"))
    }
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(Self(None));
        };
        let key = value.to_str().map(str::trim).unwrap_or_default();
        if key.is_empty() || key.len() > 255 {
            return Err(Problem::bad_request(
                "Idempotency-Key must have 1 to 255 visible characters",
            ));
        }
        Ok(Self(Some(key.to_owned())))
    }
}

impl StoredResponses {
    /// The response stored for this key. Fails with 422 if the body differs.
    pub(crate) fn find(
        &self,
        caller: &str,
        key: &str,
        body: &[u8],
    ) -> Result<Option<Response>, Problem> {
        let Some(stored) = self.0.get(&(caller.to_owned(), key.to_owned())) else {
            return Ok(None);
        };
        if stored.body != xxh3_128(body) {
            let message = "Idempotency-Key was used with another body";
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                message,
            ));
        }
        Ok(Some(private_bytes(stored.status, stored.response.clone())))
    }

    /// Stores a response and returns it.
    pub(crate) fn store(
        &mut self,
        caller: &str,
        key: &str,
        body: &[u8],
        status: StatusCode,
        response: Bytes,
    ) -> Response {
        let stored = StoredResponse {
            body: xxh3_128(body),
            status,
            response: response.clone(),
        };
        self.0.insert((caller.to_owned(), key.to_owned()), stored);
        private_bytes(status, response)
    }
}
