//! `Idempotency-Key`: the same key and body get the same answer, another body gets 422.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use xxhash_rust::xxh3::xxh3_128;

use crate::response::{Problem, private_bytes};

/// The key of a write; 400 where it is unusable.
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

/// What was answered, by caller and key.
#[derive(Debug, Default)]
pub(crate) struct Answers(BTreeMap<(String, String), Kept>);

#[derive(Debug)]
struct Kept {
    body: u128,
    status: StatusCode,
    answer: Bytes,
}

impl IdempotencyKey {
    /// The key, or 400.
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
                "Idempotency-Key has 1 to 255 visible characters",
            ));
        }
        Ok(Self(Some(key.to_owned())))
    }
}

impl Answers {
    /// The answer kept for this key, if the body is the same.
    pub(crate) fn kept(
        &self,
        caller: &str,
        key: &str,
        body: &[u8],
    ) -> Result<Option<Response>, Problem> {
        let Some(kept) = self.0.get(&(caller.to_owned(), key.to_owned())) else {
            return Ok(None);
        };
        if kept.body != xxh3_128(body) {
            let message = "Idempotency-Key was used with another body";
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                message,
            ));
        }
        Ok(Some(private_bytes(kept.status, kept.answer.clone())))
    }

    /// Keeps an answer and gives it.
    pub(crate) fn keep(
        &mut self,
        caller: &str,
        key: &str,
        body: &[u8],
        status: StatusCode,
        answer: Bytes,
    ) -> Response {
        let kept = Kept {
            body: xxh3_128(body),
            status,
            answer: answer.clone(),
        };
        self.0.insert((caller.to_owned(), key.to_owned()), kept);
        private_bytes(status, answer)
    }
}
