//! Hashes: seeded ones for the keys of one process, and unseeded ones for tags, equal in all replicas.

use std::hash::{BuildHasher, Hash, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Hashes in parts with xxh3: the hash so far is the seed of the next part.
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

/// A hasher for keys that already hold their hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PrehashedBuildHasher(u64);

impl BuildHasher for PrehashedBuildHasher {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for PrehashedBuildHasher {
    /// For completeness only: a key writes one number and nothing else.
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

/// A name to purge by: a tag of the backend or of the call, or an address. Two tags with the same hash are purged
/// together, which only costs an extra fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub(super) u64);

impl Tag {
    /// The tag `name`.
    pub fn named(name: &str) -> Self {
        Self(ChainedXxh3::hash(0, &("word", name)))
    }

    /// All responses of a backend.
    pub fn upstream(name: &str) -> Self {
        Self(ChainedXxh3::hash(0, &("upstream", name)))
    }

    /// All responses of a path of a backend, with any query.
    pub fn path(upstream: &str, path: &[u8]) -> Self {
        Self(ChainedXxh3::hash(0, &("path", upstream, path)))
    }

    /// All responses of a path with this query.
    pub fn target(upstream: &str, target: &[u8]) -> Self {
        Self(ChainedXxh3::hash(0, &("target", upstream, target)))
    }
}
