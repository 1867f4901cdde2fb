//! A write request, and one attempt to execute it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use super::IdempotencyKey;
use crate::scope::Caller;

/// A write request: its caller, its idempotency key and the hash of its body.
#[derive(Clone)]
pub struct WriteRequest {
    pub(super) caller: Caller,
    pub(super) key: IdempotencyKey,
    /// SHA-256 of the body.
    pub(super) body_hash: [u8; 32],
}

/// One attempt to execute a write: it derives the idempotency key of each step.
#[derive(Debug)]
pub struct WriteAttempt {
    operation: &'static str,
    request: WriteRequest,
    /// An earlier attempt ended without a stored outcome.
    retry: AtomicBool,
    /// A step may have been executed.
    started: Arc<AtomicBool>,
    /// A step was refused, and a compensation of an earlier step failed.
    partial: Arc<AtomicBool>,
}

impl WriteRequest {
    /// The write that `caller` sends with `key`.
    pub fn new(caller: Caller, key: IdempotencyKey, body: &[u8]) -> Self {
        let mut body_hash = [0; 32];
        body_hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
        Self {
            caller,
            key,
            body_hash,
        }
    }
}

/// Hides the fields: a short body can be guessed from its hash, and the key gives access to the outcome.
impl fmt::Debug for WriteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteRequest")
    }
}

impl WriteAttempt {
    pub(super) fn new(
        operation: &'static str,
        request: WriteRequest,
        retry: bool,
        started: Arc<AtomicBool>,
    ) -> Self {
        Self {
            operation,
            request,
            retry: retry.into(),
            started,
            partial: Arc::default(),
        }
    }

    /// The flag of [`Self::mark_partial`], read after the attempt: if true, a retry compensates the remaining steps.
    pub(super) fn partial_flag(&self) -> Arc<AtomicBool> {
        self.partial.clone()
    }

    /// Records that a compensation failed.
    pub(super) fn mark_partial(&self) {
        self.partial.store(true, Ordering::Relaxed);
    }

    /// The caller of the write.
    pub fn caller(&self) -> &Caller {
        &self.request.caller
    }

    /// The idempotency key of one step, valid as a header value. It depends only on the caller, the operation, the step
    /// and the client's key, so every attempt sends the same one.
    pub fn key(&self, step: &str) -> HeaderValue {
        let (account, profile) = bff_context::trusted::account_and_profile(&self.request.caller);
        let key = self.request.key.as_str();
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [account, profile, self.operation, step, key] {
            // The length prefix distinguishes ("ab", "c") from ("a", "bc").
            hash.update(&part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        let text = URL_SAFE_NO_PAD.encode(hash.finish());
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Call this when a backend shows effects of an earlier attempt that has no stored outcome. From then on, only a
    /// definitive rejection counts as "not executed".
    pub fn mark_retry(&self) {
        self.retry.store(true, Ordering::Relaxed);
    }

    /// Whether an earlier attempt ended without a stored outcome.
    pub(super) fn is_retry(&self) -> bool {
        self.retry.load(Ordering::Relaxed)
    }

    /// Records that a step may be executed from now on.
    pub(super) fn mark_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Records that no step was executed, by this attempt or an earlier one.
    pub(super) fn mark_untouched(&self) {
        self.started.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Identity;

    fn attempt(
        (account, profile): (&str, Option<&str>),
        operation: &'static str,
        key: &str,
    ) -> WriteAttempt {
        let identity = Identity {
            account: account.into(),
            profile: profile.map(Into::into),
            ..Identity::default()
        };
        let request = WriteRequest::new(Caller::new(identity).unwrap(), key.parse().unwrap(), b"");
        WriteAttempt::new(operation, request, false, Arc::default())
    }

    #[test]
    fn each_step_has_its_own_key_and_every_attempt_the_same_one() {
        let ada = ("ada", None);
        let key = attempt(ada, "checkout", "k").key("pay");
        assert_eq!(key, attempt(ada, "checkout", "k").key("pay"));
        for (identity, operation, client_key, step) in [
            (ada, "checkout", "k", "order"),
            (ada, "check", "k", "outpay"),
            (ada, "checkout", "l", "pay"),
            (("ben", None), "checkout", "k", "pay"),
            (("ada", Some("kid")), "checkout", "k", "pay"),
        ] {
            assert_ne!(key, attempt(identity, operation, client_key).key(step));
        }
    }
}
