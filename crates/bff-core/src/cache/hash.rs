//! Hashes: seeded ones that place keys, and plain ones that all replicas agree on for tags.

use std::hash::{BuildHasher, Hash, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Hashes piece by piece with xxh3, each piece seeded by those before it.
pub(super) struct ChainedXxh3(u64);

impl ChainedXxh3 {
    /// The hash of `value` under `seed`.
    pub(super) fn hash(seed: u64, value: &impl Hash) -> u64 {
        let mut chain = Self(seed);
        value.hash(&mut chain);
        chain.0
    }
}

impl Hasher for ChainedXxh3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// For keys that were hashed when they were made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PrehashedBuildHasher(u64);

impl BuildHasher for PrehashedBuildHasher {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for PrehashedBuildHasher {
    /// A key writes one number and nothing else; this is for completeness only.
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What a purge names: a word that a backend or a call gave an answer, or the address it came from. Two that share
/// a hash are purged together, which costs a fetch and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub(super) u64);

impl Tag {
    /// The tag `word`.
    pub fn named(word: &str) -> Self {
        Self(ChainedXxh3::hash(0, &("word", word)))
    }

    /// Everything a backend answered.
    pub fn upstream(name: &str) -> Self {
        Self(ChainedXxh3::hash(0, &("upstream", name)))
    }

    /// What a backend answered at a path, whatever the query was.
    pub fn path(upstream: &str, path: &[u8]) -> Self {
        Self(ChainedXxh3::hash(0, &("path", upstream, path)))
    }

    /// What a backend answered at a path and a query.
    pub fn target(upstream: &str, target: &[u8]) -> Self {
        Self(ChainedXxh3::hash(0, &("target", upstream, target)))
    }
}
