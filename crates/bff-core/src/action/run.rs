//! A write as it is asked for, and one try at it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use super::Key;
use crate::scope::Caller;

/// Who asks for a write, what they call it by, and what they sent.
#[derive(Clone)]
pub struct WriteRequest {
    pub(super) caller: Caller,
    pub(super) key: Key,
    /// SHA-256 of the body.
    pub(super) body_hash: [u8; 32],
}

/// One try at a write: its key for each step, and what is known of the tries before.
#[derive(Debug)]
pub struct WriteAttempt {
    operation: &'static str,
    asked: WriteRequest,
    /// An earlier try ended without a word of what it came to.
    again: AtomicBool,
    begun: Arc<AtomicBool>,
    /// It was refused, and not all that was done before could be undone.
    leaves: Arc<AtomicBool>,
}

impl WriteRequest {
    /// A write that `caller` calls by `key`.
    pub fn new(caller: Caller, key: Key, body: &[u8]) -> Self {
        let mut body_hash = [0; 32];
        body_hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
        Self {
            caller,
            key,
            body_hash,
        }
    }
}

/// The hash of a body could be guessed from, and the key lets whoever has it learn what the write came to.
impl fmt::Debug for WriteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}

impl WriteAttempt {
    pub(super) fn new(
        operation: &'static str,
        asked: WriteRequest,
        again: bool,
        begun: Arc<AtomicBool>,
    ) -> Self {
        Self {
            operation,
            asked,
            again: again.into(),
            begun,
            leaves: Arc::default(),
        }
    }

    /// Whether it leaves something that the same write again has to undo, once it has ended.
    pub(super) fn left(&self) -> Arc<AtomicBool> {
        self.leaves.clone()
    }

    /// Something could not be undone.
    pub(super) fn mark_partial(&self) {
        self.leaves.store(true, Ordering::Relaxed);
    }

    /// Who asked for it.
    pub fn caller(&self) -> &Caller {
        &self.asked.caller
    }

    /// The key of one step. It follows from who asked and the client's key alone, so that each try has the same, and
    /// it fits a header.
    pub fn key(&self, step: &str) -> HeaderValue {
        let (account, profile) = self.asked.caller.account_and_profile();
        let key = self.asked.key.as_str();
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [account, profile, self.operation, step, key] {
            // Each with its length, so that no two lists of parts look alike.
            hash.update(&part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        let text = URL_SAFE_NO_PAD.encode(hash.finish());
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// An earlier try got further than is remembered, as what stands at the backends shows. From now on only a plain
    /// refusal says that something was not done.
    pub fn mark_retry(&self) {
        self.again.store(true, Ordering::Relaxed);
    }

    /// Whether an earlier try ended without a word of what it came to.
    pub(super) fn is_retry(&self) -> bool {
        self.again.load(Ordering::Relaxed)
    }

    /// From now on something may have been done.
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Nothing was done after all, by this try or another.
    pub(super) fn mark_untouched(&self) {
        self.begun.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Identity;

    fn run(
        (account, profile): (&str, Option<&str>),
        operation: &'static str,
        key: &str,
    ) -> WriteAttempt {
        let identity = Identity {
            account: account.into(),
            profile: profile.map(Into::into),
            ..Identity::default()
        };
        let asked = WriteRequest::new(Caller::new(identity).unwrap(), key.parse().unwrap(), b"");
        WriteAttempt::new(operation, asked, false, Arc::default())
    }

    #[test]
    fn the_keys_of_steps_differ_and_are_the_same_each_time() {
        let ada = ("ada", None);
        let key = run(ada, "checkout", "k").key("pay");
        assert_eq!(key, run(ada, "checkout", "k").key("pay"));
        for (who, operation, key_of_client, step) in [
            (ada, "checkout", "k", "order"),
            (ada, "check", "k", "outpay"),
            (ada, "checkout", "l", "pay"),
            (("ben", None), "checkout", "k", "pay"),
            (("ada", Some("kid")), "checkout", "k", "pay"),
        ] {
            assert_ne!(key, run(who, operation, key_of_client).key(step));
        }
    }
}
