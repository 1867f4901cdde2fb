//! Tokens whose signature was checked before, so that the next request need not check it again.

use std::hash::{BuildHasher, Hasher};

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use bff_context::context::Env;
use bff_context::scope::Caller;

/// Verified tokens and their callers. The whole token is the key: a hash of it, however good, could only be slower
/// (SHA-256) or forgeable (anything quicker), and comparing a kilobyte costs less than 50 ns.
#[derive(Debug)]
pub(super) struct VerifiedTokenCache(Cache<Box<[u8]>, Entry, UnitWeighter, Seed>);

#[derive(Clone, Debug)]
struct Entry {
    caller: Caller,
    /// The token's `exp`, in seconds since 1970, without leeway.
    until: u64,
    /// Which keys it was verified with.
    generation: u64,
}

impl VerifiedTokenCache {
    /// Room for about `capacity` tokens.
    pub(super) fn new(capacity: usize, world: &Env) -> Self {
        let weight = u64::try_from(capacity).unwrap_or(u64::MAX);
        let seed = Seed(world.random());
        Self(Cache::with(
            capacity,
            weight,
            UnitWeighter,
            seed,
            DefaultLifecycle::default(),
        ))
    }

    /// The caller of `token`, if it was verified with these keys and has not expired.
    ///
    /// The generation is compared here, and not cleared away when keys change: a verification that began with the
    /// old keys may end after the change.
    pub(super) fn get(&self, token: &[u8], now: u64, generation: u64) -> Option<Caller> {
        let entry = self.0.get(token)?;
        if now < entry.until && entry.generation == generation {
            return Some(entry.caller);
        }
        self.0.remove(token);
        None
    }

    /// Remembers a verified token until its `exp`.
    pub(super) fn put(&self, token: &[u8], caller: Caller, until: u64, generation: u64) {
        let entry = Entry {
            caller,
            until,
            generation,
        };
        self.0.insert(token.into(), entry);
    }
}

/// Hashes by xxh3 from a seed of the world's, so that a simulation replays. Only verified tokens are ever kept, so
/// nobody can fill a bucket on purpose.
#[derive(Clone, Debug)]
struct Seed(u64);

struct Xxh3(u64);

impl BuildHasher for Seed {
    type Hasher = Xxh3;

    fn build_hasher(&self) -> Xxh3 {
        Xxh3(self.0)
    }
}

impl Hasher for Xxh3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The length that slices announce first; their bytes follow.
    fn write_usize(&mut self, length: usize) {
        self.0 ^= length as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bff_context::scope::Identity;

    fn caller() -> Caller {
        let account = "ada".to_owned();
        Caller::new(Identity {
            account,
            ..Identity::default()
        })
        .unwrap()
    }

    #[test]
    fn an_entry_ends_with_the_token_and_with_its_keys() {
        let tokens = VerifiedTokenCache::new(10, &Env::real());
        tokens.put(b"t", caller(), 100, 1);
        assert!(tokens.get(b"t", 99, 1).is_some());
        assert!(tokens.get(b"u", 99, 1).is_none());
        assert!(tokens.get(b"t", 100, 1).is_none());
        tokens.put(b"t", caller(), 100, 1);
        assert!(tokens.get(b"t", 99, 2).is_none());
        assert!(tokens.get(b"t", 99, 1).is_none(), "it is gone, not hidden");
    }

    #[test]
    fn the_room_is_bounded() {
        let tokens = VerifiedTokenCache::new(10, &Env::real());
        for n in 0..1000_u32 {
            tokens.put(&n.to_be_bytes(), caller(), 100, 1);
        }
        assert!(tokens.0.len() <= 10);
        let none = VerifiedTokenCache::new(0, &Env::real());
        none.put(b"t", caller(), 100, 1);
        assert!(none.0.len() <= 1);
    }
}
