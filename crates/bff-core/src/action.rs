//! A write of several steps: the client's key for it, what came of each step, and what undoes the steps before one that
//! failed.
//!
//! [`Writes`] does each write once, and remembers what it came to. The steps of one write are told apart by keys that
//! follow from the client's own ([`Run::key`]), so that the same write again repeats no step that was done. A step that
//! is refused undoes those before it, the latest first. A step whose outcome is unknown undoes nothing: it may have been
//! done, and the same key again settles it.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

pub use idempotent::IdempotentWrites;
pub use key::Key;
pub use run::{WriteAttempt, WriteRequest};
pub use saga::{Saga, StepOutcomes};

mod idempotent;
mod key;
mod run;
mod saga;
#[cfg(test)]
mod tests;

/// How long undoing may take, whatever is left of the request's own time.
const COMPENSATION_TIMEOUT: Duration = Duration::from_secs(5);

/// A write that was done: 201, and nobody keeps the answer.
pub struct Created<T> {
    /// JSON.
    body: Bytes,
    of: PhantomData<fn() -> T>,
}

impl<T> Created<T> {
    fn of(body: Bytes) -> Self {
        let of = PhantomData;
        Self { body, of }
    }
}

impl<T> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let kind = (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let nobody = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        (StatusCode::CREATED, [kind, nobody], self.body).into_response()
    }
}

impl<T> fmt::Debug for Created<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Created({} bytes)", self.body.len())
    }
}
