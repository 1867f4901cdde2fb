//! The signing keys and the issued refresh tokens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::keys::{Algorithm, Generation};
use crate::clock::{Clock, Time};
use crate::seeded_rng::SeededRng;

/// The signing keys and the issued refresh tokens.
pub(crate) struct State {
    pub(super) issuer: String,
    pub(super) clock: Clock,
    pub(super) rng: SeededRng,
    generation: AtomicU64,
    issued: AtomicU64,
    pub(super) refresh: Mutex<BTreeMap<String, RefreshToken>>,
}

/// One refresh token.
pub(super) struct RefreshToken {
    pub(super) user: String,
    /// The ordinal of the first token of the family.
    pub(super) family: u64,
    pub(super) alg: Algorithm,
    pub(super) expires: Time,
    pub(super) used: bool,
}

impl State {
    pub(crate) fn new(issuer: String, clock: Clock, rng: SeededRng) -> Self {
        Self {
            issuer,
            clock,
            rng,
            generation: AtomicU64::new(0),
            issued: AtomicU64::new(0),
            refresh: Mutex::default(),
        }
    }

    pub(crate) fn reset(&self) {
        self.generation.store(0, Ordering::Release);
        self.refresh.lock().clear();
    }

    pub(crate) fn rotate(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The generation that signs new tokens.
    pub(super) fn signing(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// The generations in the JWKS, newest first.
    pub(super) fn published(&self) -> Vec<Generation> {
        let Generation(now) = self.signing();
        (now.saturating_sub(1)..=now)
            .rev()
            .map(Generation)
            .collect()
    }

    /// A number that is unique among the tokens of this set.
    pub(super) fn ordinal(&self) -> u64 {
        self.issued.fetch_add(1, Ordering::Relaxed)
    }
}
