//! Idempotent writes of one or more steps: the idempotency key, the outcome of each step, and compensation.
//!
//! [`IdempotentWrites`] executes each write once and stores its outcome. Each step has its own idempotency key, derived
//! from the client's key ([`WriteAttempt::key`]), so a retry of the write repeats no completed step. When a step is
//! refused, the saga compensates the earlier steps, the latest first. When the outcome of a step is unknown, the saga
//! compensates nothing, because the backend may have executed it. A retry with the same key learns the outcome.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

pub use completion::Completion;
pub use idempotent::IdempotentWrites;
pub(crate) use key::IDEMPOTENCY_KEY;
pub use key::IdempotencyKey;
pub use run::{WriteAttempt, WriteRequest};
pub use saga::{Saga, StepOutcomes};

mod completion;
mod idempotent;
mod key;
mod run;
mod saga;
#[cfg(test)]
mod tests;

/// Time limit for all compensations of one write. It does not depend on the request's remaining time.
const COMPENSATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Response of a successful write: 201 with `Cache-Control: no-store`.
pub struct Created<T> {
    /// The value of type `T`, as JSON.
    json: Bytes,
    value_type: PhantomData<fn() -> T>,
}

impl<T> Created<T> {
    fn from_json(json: Bytes) -> Self {
        Self {
            json,
            value_type: PhantomData,
        }
    }
}

impl<T> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let content_type = (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        (StatusCode::CREATED, [content_type, no_store], self.json).into_response()
    }
}

impl<T> fmt::Debug for Created<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Created({} bytes)", self.json.len())
    }
}
