//! Reproducible random numbers.
//!
//! Each number is a hash of (seed, name, ordinal) and not the next of one stream. The numbers therefore do not depend on
//! the order of calls.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// The random number generator of one set of mocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeededRng(pub(crate) u64);

impl SeededRng {
    /// 64 uniform bits.
    pub(crate) fn bits(self, name: &str, ordinal: u64) -> u64 {
        xxh3_64_with_seed(&hash_input(name, ordinal), self.0)
    }

    /// A number in `0..bound`; 0 when the bound is 0.
    pub(crate) fn below(self, name: &str, ordinal: u64, bound: u64) -> u64 {
        self.bits(name, ordinal) % bound.max(1)
    }

    /// A number in `0..bound` for an index into a list.
    pub(crate) fn index(self, name: &str, ordinal: u64, len: usize) -> usize {
        let bound = u64::try_from(len).unwrap_or(u64::MAX);
        usize::try_from(self.below(name, ordinal, bound)).unwrap_or(0)
    }

    /// One item of a list; `None` for an empty list.
    pub(crate) fn pick<'a, T>(self, name: &str, ordinal: u64, list: &'a [T]) -> Option<&'a T> {
        list.get(self.index(name, ordinal, list.len()))
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn unit(self, name: &str, ordinal: u64) -> f64 {
        let high = u32::try_from(self.bits(name, ordinal) >> 32).unwrap_or(0);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// 128 bits as 32 hexadecimal digits, for ids and opaque tokens.
    pub(crate) fn id(self, name: &str, ordinal: u64) -> String {
        format!(
            "{:032x}",
            xxh3_128_with_seed(&hash_input(name, ordinal), self.0)
        )
    }
}

fn hash_input(name: &str, ordinal: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 9);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&ordinal.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_depends_only_on_seed_name_and_ordinal() {
        let (a, b) = (SeededRng(7), SeededRng(8));
        assert_eq!(a.bits("x", 1), a.bits("x", 1));
        assert_ne!(a.bits("x", 1), a.bits("x", 2));
        assert_ne!(a.bits("x", 1), b.bits("x", 1));
        assert!((0..1000).all(|n| (0.0..1.0).contains(&a.unit("x", n))));
    }
}
