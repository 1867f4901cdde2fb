//! The cache of verified tokens: the next request with the same token needs no signature check.

use std::hash::{BuildHasher, Hasher};

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use bff_context::context::Env;
use bff_context::scope::Caller;

/// Verified tokens and their callers. The key is the complete token, because comparing 1 kB takes less than 50 ns. A
/// hash as the key would be slower (SHA-256) or forgeable (faster hashes).
#[derive(Debug)]
pub(super) struct VerifiedTokenCache(Cache<Box<[u8]>, VerifiedToken, UnitWeighter, SeededXxh3>);

#[derive(Clone, Debug)]
struct VerifiedToken {
    caller: Caller,
    /// The token's `exp`, in seconds since 1970, without leeway.
    until: u64,
    /// The generation of the keys that verified it.
    generation: u64,
}

impl VerifiedTokenCache {
    /// A cache for about `capacity` tokens.
    pub(super) fn new(capacity: usize, env: &Env) -> Self {
        let weight = u64::try_from(capacity).unwrap_or(u64::MAX);
        let seed = SeededXxh3(env.random());
        Self(Cache::with(
            capacity,
            weight,
            UnitWeighter,
            seed,
            DefaultLifecycle::default(),
        ))
    }

    /// The caller of `token`, if keys of this `generation` verified it and it has not expired.
    ///
    /// A change of keys does not clear the cache: a verification with the old keys may end after the change. Therefore
    /// each lookup compares the generation.
    pub(super) fn get(&self, token: &[u8], now: u64, generation: u64) -> Option<Caller> {
        let entry = self.0.get(token)?;
        if now < entry.until && entry.generation == generation {
            return Some(entry.caller);
        }
        self.0.remove(token);
        None
    }

    /// Stores a verified token until its `exp`.
    pub(super) fn put(&self, token: &[u8], caller: Caller, until: u64, generation: u64) {
        let entry = VerifiedToken {
            caller,
            until,
            generation,
        };
        self.0.insert(token.into(), entry);
    }
}

/// Hashes with xxh3. The seed comes from [`Env`], so a simulation is reproducible. Clients cannot cause collisions,
/// because the cache stores only verified tokens.
#[derive(Clone, Debug)]
struct SeededXxh3(u64);

struct Xxh3Hasher(u64);

impl BuildHasher for SeededXxh3 {
    type Hasher = Xxh3Hasher;

    fn build_hasher(&self) -> Xxh3Hasher {
        Xxh3Hasher(self.0)
    }
}

impl Hasher for Xxh3Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// A slice hashes its length first, then its bytes.
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
    fn an_entry_is_valid_until_the_token_expires_or_the_keys_change() {
        let tokens = VerifiedTokenCache::new(10, &Env::real());
        tokens.put(b"t", caller(), 100, 1);
        assert!(tokens.get(b"t", 99, 1).is_some());
        assert!(tokens.get(b"u", 99, 1).is_none());
        assert!(tokens.get(b"t", 100, 1).is_none());
        tokens.put(b"t", caller(), 100, 1);
        assert!(tokens.get(b"t", 99, 2).is_none());
        assert!(tokens.get(b"t", 99, 1).is_none(), "the entry was removed");
    }

    #[test]
    fn the_number_of_entries_is_limited() {
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
